"""JSON found in answers of language models: in prose, in fences, with slips that have one mending only.

A text that is JSON is never touched. What is mended or left out is noted as a warning; where nothing helps,
the error is the one about the text as it stands.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

from ..json_text import DEEPEST, decode, parse_json
from ..problems import LayoutError, fault
from .notes import warn
from .shared import FENCE, blank

# Far above what a language model writes; bounds the work of mending and of Python's parser.
MOST_MENDED = 200_000
_MOST_STARTS = 50
_MENDED = {f"json_{name}" for name in ("value", "key", "colon", "comma", "string", "extra")}
# A text that is never closed goes to the end of its line: looked for again from every quote, it would take
# quadratic time.
_END = r"(?=\n)|\\?\Z|\\(?=\n)"
_TEXT = rf'"(?:[^"\\\n]|\\.)*(?:"|{_END})'
# The beginning of JSON, not of a remark in brackets.
_LIKELY = re.compile(r"\[\s*[\[{(\"\'“]|\{\s*[\"\'“]")
_TEXTS = re.compile(rf"{_TEXT}|'(?:[^'\\\n]|\\.)*(?:'|{_END})")
_TRAILING = re.compile(rf"{_TEXT}|,(?=\s*[\]}}])")
_COMMENT = re.compile(rf"{_TEXT}|//[^\n]*|/\*[^*]*\*/|#[^\n]*")
_WIDE = re.compile(rf"{_TEXT}|[“”„‟＂：，]")
_NARROW = {"：": ":", "，": ","}
_BRACKET = re.compile(rf"{_TEXT}|[\[\]{{}}]")
_ARRAYS = ("tensor", "array")
_GRADIENT = re.compile(r",\s{0,80}grad_fn=<\w{1,60}>")
_PYTHON_NAMES = {"true": True, "false": False, "null": None}


def parsed(source: Any) -> Any:
    """JSON values from a text (prose and markdown fences around it are skipped), other values as they are."""
    if not isinstance(source, (str, bytes)):
        return source
    text = json_part(decode(source))
    try:
        return parse_json(text)
    except LayoutError as error:
        found = _mended(text) if error.code in _MENDED and len(text) <= MOST_MENDED else None
        if found is None:
            raise
        return found


def strictly_parsed(source: Any) -> Any:
    """As `parsed`, but nothing is mended."""
    return parse_json(json_part(decode(source))) if isinstance(source, (str, bytes)) else source


def json_part(text: str) -> str:
    """The text with everything before its JSON blanked out, so that positions of errors stay true."""
    if text.lstrip()[:1] in ("{", "["):
        return text
    blocks = [block for block in FENCE.finditer(text) if block[1].lstrip()[:1] in ("{", "[")]
    if len(blocks) > 1:
        raise fault("blocks", count=len(blocks))
    if blocks:
        return blank(text[: blocks[0].start(1)]) + blocks[0][1]
    starts = [start.start() for start in islice(re.finditer(r"[{\[]", text), _MOST_STARTS)]
    if not starts:
        return text
    found = list(_layouts_in(text, starts)) if len(starts) > 1 else []
    if len(found) > 1:
        raise fault("blocks", count=len(found))
    if found:
        start, end = found[0]
    else:
        start, end = starts[0], max(text.rfind("}"), text.rfind("]")) + 1
    return blank(text[:start]) + text[start : max(start + 1, end)]


def _layouts_in(text: str, starts: list[int]) -> Iterator[tuple[int, int]]:
    """Beginnings and ends of JSON that holds more than a remark in brackets does, broken or not."""
    decoder, end = json.JSONDecoder(), 0
    for start in starts:
        if start < end:
            continue
        try:
            value, after = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            if _LIKELY.match(text, start):
                # What is inside of broken JSON is no layout of its own.
                yield start, max(text.rfind("}"), text.rfind("]")) + 1
                return
            continue
        inner = value.values() if isinstance(value, dict) else value
        if any(isinstance(item, (dict, list)) and item for item in inner):
            end = after
            yield start, end


def _mended(text: str) -> Any:
    """The value of a text that is not quite JSON, None where it could be mended in more ways than one."""
    tidy = _without_slips(text)
    for code, candidate in (
        ("json_mended", tidy),
        ("json_prose_after", _without_end(tidy)),
        ("json_cut_off", _completed(tidy)),
    ):
        if candidate is None or candidate == text:
            continue
        try:
            found = parse_json(candidate)
        except LayoutError:
            continue
        warn(code)
        return found
    return _python_value(text)


def _without_slips(text: str) -> str:
    """Commas before a closing bracket, comments, curly quotes and wide signs made JSON's, length kept."""
    for pattern in (_WIDE, _COMMENT, _TRAILING):
        text = pattern.sub(_plain, text)
    return text


def _plain(found: re.Match[str]) -> str:
    sign = found[0]
    if sign[0] == '"':
        return sign
    return _NARROW.get(sign, '"') if sign in "“”„‟＂：，" else blank(sign)


def _without_end(text: str) -> str | None:
    """The text without what follows its value, if that has no brackets that could be another."""
    start = len(text) - len(text.lstrip())
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return None if re.search(r"[{}\[\]]", text[end:]) else text[:end]


def _completed(text: str) -> str | None:
    """A text that ends early, up to its last complete entry of a list, with what is open closed."""
    open_brackets: list[str] = []
    complete = None
    for found in _BRACKET.finditer(text):
        sign = found[0]
        if sign in ("[", "{"):
            open_brackets.append("]" if sign == "[" else "}")
        elif sign in ("]", "}"):
            if not open_brackets or open_brackets.pop() != sign:
                return None
            if open_brackets and open_brackets[-1] == "]" and len(open_brackets) <= DEEPEST:
                complete = (found.end(), tuple(reversed(open_brackets)))
    if not open_brackets or complete is None:
        return None
    return text[: complete[0]] + "".join(complete[1])


def _python_value(text: str) -> Any:
    """The value of a Python literal, which is never run; None for others and for texts side by side."""
    texts = list(_TEXTS.finditer(text))
    if any(not text[one.end() : other.start()].strip() for one, other in pairwise(texts)):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            node = ast.parse(_GRADIENT.sub("", text.strip()), mode="eval").body
        return _value(node, DEEPEST)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr, depth: int) -> Any:
    """What a node means in JSON's terms: tuples are lists. ValueError for what JSON cannot hold."""
    if depth == 0:
        raise ValueError
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item, depth - 1) for item in node.elts]
    if isinstance(node, ast.Dict):
        keys = [_key(key) for key in node.keys]
        if len(set(keys)) != len(keys):
            raise ValueError
        return dict(zip(keys, (_value(value, depth - 1) for value in node.values), strict=True))
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in _ARRAYS
        and node.args
    ):
        # As a detector's answer is printed; what else stands in the brackets tells the device and the type.
        return _value(node.args[0], depth - 1)
    if isinstance(node, ast.Name) and node.id in _PYTHON_NAMES:
        return _PYTHON_NAMES[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _value(node.operand, depth - 1)
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            return -number
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _paired(node.value)
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, type(None))):
        if isinstance(node.value, float) and not math.isfinite(node.value):
            raise ValueError
        return node.value
    raise ValueError


def _paired(text: str) -> str:
    """A text whose characters were escaped as two halves, which JSON joins and Python does not."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _key(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _paired(node.value)
    raise ValueError
