"""Names of number formats, as people write them."""

DTYPES = {
    **{name: name for name in ("float32", "bfloat16", "float16", "float64")},
    "fp32": "float32",
    "float": "float32",
    "bf16": "bfloat16",
    "fp16": "float16",
    "half": "float16",
    "fp64": "float64",
    "double": "float64",
}
"""Names that `dtype` takes -> torch's own."""


def plain_dtype(name: str) -> str:
    """`torch.float16` as `float16`; any other name as it is."""
    bare = name.removeprefix("torch.")
    return bare if bare in DTYPES else name
