"""How the texts of a language are cut into words, and which of them are articles. Those of Lighteval v0.9.2.

Sources: `metrics/utils/linguistic_tokenizers.py` and `metrics/normalizations.py` of
https://github.com/huggingface/lighteval/tree/v0.9.2/src/lighteval. Czech has its own rules here, which the reference looks for under a
name that spaCy does not have. The languages that need Stanza there (Kazakh, Welsh, Maltese, Belarusian, Breton) are not here, as no task
asks in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WordRules:
    """One language."""

    code: str
    """ISO 639-3."""
    spacy: str | None
    """The language whose word rules spaCy has: its own, or one that is near (ISO 639-1). None: words are what white space divides."""
    articles: str | None = None
    """Those that quasi-exact match leaves out, as alternatives of a regular expression. None: the language joins them, or has none."""


_RULES = """
afrikaans afr af, albanian sqi sq, amharic amh am, arabic ara ar, armenian hye hy, assamese asm, azerbaijani aze az, bashkir bak tt,
basque eus eu, bengali ben bn, bihari bih, bosnian bos hr, bulgarian bul bg, burmese mya, catalan cat ca, cebuano ceb, chinese zho zh,
croatian hrv hr, czech ces cs, danish dan da, dutch nld nl, english eng en, esperanto epo en, estonian est et, finnish fin fi,
french fra fr, galician glg, georgian kat, german deu de, greek ell el, gujarati guj gu, haitian hti, hebrew heb he, hindi hin hi,
hungarian hun hu, icelandic isl is, indonesian ind id, irish gle ga, italian ita it, japanese jpn ja, javanese jav en, kannada kan kn,
khmer khm, kirghiz kir ky, korean kor ko, kurdish kur en, lao lao, latin lat la, latvian lav lv, lithuanian lit lt, luxembourgish ltz lb,
macedonian mkd mk, malagasy mlg en, malay msa ms, malayalam mal ml, marathi mar mr, nepali nep ne, norwegian nor nb,
norwegian_nynorsk nno nn, occitan oci ca, oriya ori, pashto pus xx, persian fas fa, polish pol pl, portuguese por pt, punjabi pan,
quechua que, romanian ron ro, russian rus ru, sanskrit san sa, serbian srp sr, serbocroatian hbs sr, shan shn, sindhi snd, sinhala sin si,
slovak slk sk, slovenian slv sl, somali som en, sorani ckb, spanish spa es, swahili swa en, swedish swe sv, tagalog tgl tl, tajik tgk ru,
tamil tam ta, tatar tat tt, telugu tel te, thai tha th, turkish tur tr, turkmen tuk tr, udmurt udm, ukrainian ukr uk, urdu urd ur,
uzbek uzb tr, vietnamese vie vi, western_frisian fry nl, yiddish yid he, yoruba yor yo, zulu zul
"""
"""Name, ISO 639-3 code and spaCy's rules; without the last, white space divides words."""
_ARTICLES = {
    "cat": "el|la|els|les|un|una|uns|unes",
    "deu": "der|die|das|den|dem|des|ein|eine|einer|eines|einem|einen",
    "ell": "ὁ|οἱ|τοῦ|τῶν|τόν|τούς|ὦ|ἡ|αἱ|τῆς|τήν|τάς|τό|τά",
    "eng": "a|an|the",
    "fin": "se|yksi|yks",
    "fra": "le|la|les|l'|un|une|des",
    "glg": "o|a|os|as|un|unha|uns|unhas",
    "heb": "ה",
    "hun": "a|az|egy",
    "ita": "il|lo|la|i|gli|le|un|uno|una",
    "nld": "de|het|een",
    "nor": "en|ei|et|den|det|de",
    "por": "o|a|os|as|um|uma|uns|umas",
    "spa": "el|la|los|las|un|una|unos|unas",
    "swe": "en|ett|den|det|de",
    "tur": "bir",
}


def _all_rules() -> Mapping[str, WordRules]:
    entries = [entry.split() for entry in _RULES.replace("\n", " ").split(",")]
    return {name: WordRules(code=code, spacy=(*spacy, None)[0], articles=_ARTICLES.get(code)) for name, code, *spacy in entries}


WORD_RULES = _all_rules()
"""By the English name, as names of metrics have it."""
