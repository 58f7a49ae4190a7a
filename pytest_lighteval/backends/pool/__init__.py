"""An engine pool: a backend whose chunks are answered by several engines, each in a process of its own.

`backend` is the pool as a `Backend`. `pool` talks with the members in a thread of its own; `schedule` decides, without any process, which
member gets which chunk. `member` is what runs in a member's process, `messages` what passes between both. `places` say where members
run: `local` on this machine, `ranks` in the processes that a launcher started (`launcher`). The reasons: docs/decisions/022-members.md.
"""
