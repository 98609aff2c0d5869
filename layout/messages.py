"""Sentences of every `LayoutError` by its code; `locales/*/main.json` holds the editor's for the same codes.

They are not read from the locales because this package is the standard library alone and is installed
without those files, and because the editor's sentences are others: it points at the place they speak of. A
test compares codes and parameters. `{name!q}` shows a value as JSON spells it, on one line, cut short.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from typing import Any

MESSAGES: Mapping[str, str] = {
    # The text.
    "empty": "the text is empty; a layout is expected",
    "text_needed": "a text is needed, got {value}",
    "text_too_long": "the text has {count:,} characters; at most {most:,} (10 MB) are read",
    "file_too_large": (
        "the file has {size:,} bytes; at most {most:,} (10 MB) are read, "
        "and of a COCO file of up to 1 GB the one image that you choose by id or file name (--image)"
    ),
    "no_layout_in_picture": "the picture carries no layout",
    "not_utf8": "not UTF-8 text: {reason} at byte {byte}",
    "blocks": "the text holds {count} blocks of JSON; keep the one that is meant",
    # JSON.
    "json_value": "not JSON: {reason}",
    "json_key": "not JSON: {reason}",
    "json_colon": "not JSON: {reason}",
    "json_comma": "not JSON: {reason}",
    "json_extra": "not JSON: {reason}",
    "json_string": "not JSON: {reason}",
    "json_control": "not JSON: {reason}",
    "json_escape": "not JSON: {reason}",
    "json_constant": "the value {value} is not a number a layout can hold",
    "json_large": "the number {value} is too large",
    "json_twice": "the key {key!q} is given twice in one object",
    "json_depth": "lists and objects are nested too deep; at most {most} levels are read",
    "json_mended": "the text is not quite JSON; commas, quotes or comments were mended",
    "json_prose_after": "the words after the JSON are not read",
    "json_cut_off": "the answer ends early; what follows its last complete entry is left out",
    # The document.
    "unreadable": "{problems}",
    "has_errors": "{problems}",
    # Formats.
    "unknown_format": "the format {name!q} is not known; {known} are",
    "read_only": "layouts of {name!q} are read and not written; {known} are written",
    "write_only": "layouts of {name!q} are written and not read; {known} are read",
    "not_kept": "{format} does not keep {names}",
    "unknown_text": "this is none of the known formats: {known}",
    "unknown_json": "this JSON is none of the known formats: {known}; it begins {value}",
    "unfit_option": "{names} has no meaning for the format {format}",
    # Values of foreign formats.
    "need_object": "{where} must be an object {{ … }}, got {value}",
    "need_list": "{where} must be a list [ … ], got {value}",
    "need_text": "{where} must be a text, got {value}",
    "need_number": "{where} must be a number, got {value}",
    "need_numbers": "{where} must be a list of {count} numbers, got {value}",
    "need_side": "{where} must be a whole number of pixels, got {value}",
    "need_whole": "{where} must be whole numbers",
    "need_color": "{where} must be three whole numbers from 0 to 255, got {value}",
    "need_canvas": "{what} are in pixels of a canvas they do not name; give the canvas size",
    "large_number": "{where} is too large a number",
    "lacks": "{where} lacks {names}, got {value}",
    # Bounding boxes.
    "choose_frame": "there are boxes for {count} pictures; choose a frame from 0 to {last}",
    "no_frame": "frame {frame} does not exist; 0 to {last} do",
    # COCO.
    "choose_image": "the file has {count} images; choose one by id or file name: {ids}",
    "no_image": "{count} images have the id or file name {image!q}; the ids are {ids}",
    "no_image_size": "the file does not tell the size of its image; give the canvas size",
    "no_category": "{where}: category {value} is not listed; {known} are",
    "entries_lost": "left out of the {key}: {reasons}",
    "annotation_lost": "an annotation is left out: {reason}",
    "annotation_flat": "annotation number {number} ({caption!q}) is left out: its box has no area",
    "need_outlines": "{where} must be a list of outlines [[x, y, x, y, …], …] or a run-length",
    "need_pairs": "{where}: an outline needs pairs x, y of three or more points, got {count} numbers",
    "unusable_mask": "{where}: {fault}",
    "compressed": "not a compressed run-length",
    "compressed_cut": "the compressed run-length is cut off",
    # Peers.
    "shape_without_area": "shape {number} is left out: a {kind} has no area",
    "area_not_read": "shape {number} is left out: a {kind} has no area that is read",
    "need_points": "{where} must be two points or more, got {count}",
    "need_equal": "{one} has {first} entries and {other} has {second}; both must have as many",
    "no_detections": 'no lists "bboxes" and "labels" are found',
    "class_numbers": "the names of the classes {numbers} are not told; their numbers stand for them",
    "yolo_row": (
        'expected "class x y width height" or "class x y x y x y …", '
        "a whole number and fractions of the picture"
    ),
    "rule_sides": "expected left, top, width and height, each with a number",
    "rule_units": "pixels and percent stand side by side; write all four in one unit",
    "no_regions": "no pictures with their regions are found",
    "first_answer": "of {count} answers to the task the first of {kind} is read",
    "one_picture": "{where} must hold one picture, got {count}",
    # Plain lines.
    "lines_size": 'expected a size like "1024 x 768"',
    "lines_unknown": 'expected "x y x y: caption", "prompt: …", "negative: …" or "canvas: width x height"',
    "lines_twice": "{key!q} is told a second time; keep one of them",
    "lines_mixed": "numbers above 1 beside fractions; write them all as fractions, as percent or as pixels",
    "lines_pixels": (
        'numbers above 1 are pixels, which need a line "canvas: width x height" (or write percent)'
    ),
    # FLUX 3.
    "no_table": "no table of elements is found; a FLUX 3 prompt ends with one, a list of id, bbox and desc",
    # Language models.
    "no_list": "no list of things with boxes is found; it may be called {names}",
    "need_entry": "{where} must be a caption and a box, got {value}",
    "no_box": "{where} has no box; it may be called {names}, got {value}",
    "no_order": "the order of box numbers {value!q} is not known; {known} are",
    "order_open": (
        "the four numbers of the boxes fit both corners (xyxy) and a corner with a size (xywh); "
        'say "box_format": "xyxy", "xywh", "yxyx" or "cxcywh"'
    ),
    "order_none": (
        "the four numbers of the boxes fit neither xyxy nor xywh; "
        'say "box_format": "xyxy", "xywh", "yxyx" or "cxcywh"'
    ),
    "order_taken": (
        "the four numbers of the boxes are taken for a corner with a size (xywh), though they can be a "
        'centre with a size too; say "box_format": "cxcywh" if they are'
    ),
    "order_not_taken": "the sides of the boxes have names ({names}), so that the order {order} is not read",
    "no_unit": (
        "the box numbers go up to {largest:g} and nothing tells their unit; give the canvas size for pixels, "
        'or say "units": "percent" or "grid1000"'
    ),
    "unit_open": (
        "the box numbers go up to {largest:g} on a canvas of {width} × {height} and can be any of {choices}; "
        'say which, like "units": "grid1000"'
    ),
    "unit_taken": (
        "the box numbers are taken for pixels of {width} × {height}, though they can be {choices} too; "
        'say "units" if they are'
    ),
    "only_points": "the entries are points, which have no area; ask for boxes",
    "key_not_read": "{key!q} is not read (in {count} of the entries)",
    "proportion_not_read": (
        "the size {value!q} is taken for a proportion and not read; "
        "a size in pixels has {least} or more a side"
    ),
    "unknown_unit": "the unit {value} is not known; fraction, percent, pixel and grid1000 are",
    # Omost.
    "python_too_long": "the canvas text is {count:,} characters long; at most {most:,} are read",
    "python_syntax": "not an Omost canvas: {reason}",
    "python_cut_off": "the answer ends early, in {last!q}; ask for the rest of it",
    "omost_several": "of {count} canvases the last one is read",
    "python_depth": "not an Omost canvas: it is nested too deep",
    "python_statement": "only calls that describe the canvas are read",
    "python_many_values": "{where} takes {most} values, got {count}",
    "python_twice": "{where}: {key!q} is given twice",
    "python_parameter": "{where}: {key!q} is not known; {names} are",
    "python_value": "{where}: {key} must be a text, a number or a list of texts",
    "omost_distance": "{where}: distance_to_viewer must be above 0, got {value:g}",
    "omost_name": "{where}: {key} {value!q} is not known; {names} are",
    "omost_near_name": "{where}: {key} {value!q} is not known; did you mean {near!q}?",
    # Transforms.
    "nothing_to_combine": "there is nothing to combine; give at least one layout",
    "crop_off": "the crop must lie on the canvas (0 to 1, left < right), got {value}",
    "move_far": "a move of -1 to 1 (fractions of the canvas) is allowed, got {right:g}, {down:g}",
    "scale_range": "a scale of 0.01 to 100 is allowed, got {horizontal:g} × {vertical:g}",
    "canvas_range": (
        "the canvas would become {width} × {height} pixels; {low} to {high} pixels a side are allowed"
    ),
}


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=repr)


def quote(value: Any, limit: int = 60) -> str:
    """A value for a message as JSON spells it: on one line, cut to `limit` characters, controls escaped."""
    text = ""
    try:
        # Piece by piece: of megabytes only the beginning is made.
        for piece in _ENCODER.iterencode(value):
            text += piece
            if len(text) > limit:
                break
    except (TypeError, ValueError, RecursionError):
        # What JSON cannot hold comes from programs, never from a text.
        text = repr(value)
    text = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text[: limit + 1]
    )
    return text if len(text) <= limit else text[: limit - 1] + "…"


class _Sentences(string.Formatter):
    def convert_field(self, value: Any, conversion: str | None) -> Any:
        return quote(value) if conversion == "q" else super().convert_field(value, conversion)  # pyright: ignore


def say(code: str, params: Mapping[str, Any]) -> str:
    """The sentence of a code with its parameters filled in."""
    return _Sentences().vformat(MESSAGES[code], (), params)


def parameters(code: str) -> set[str]:
    """Names of the parameters that the sentence of a code has."""
    return {name for _, name, _, _ in string.Formatter().parse(MESSAGES[code]) if name}
