"""Read and write the YAML of settings: YAML 1.2 scalars, no duplicate keys, no aliases.

Source: YAML 1.2.2, section 10.3.2 (core schema). PyYAML alone follows 1.1, where `1e-4` is text,
`on` is true and the second of two equal keys wins without a word.
Limits: plain values only (no tags, no merge keys), at most 32 levels deep.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import yaml
from pydantic import JsonValue

from phiray.errors import ConfigError

MAX_FILE_BYTES = 1_000_000
"""The full settings of a stage take about 10 kB."""
MAX_DEPTH = 32
"""No settings are nested half as deep; more would exhaust Python's stack."""

Path = tuple[str | int, ...]
"""Keys and list positions from the root to a value."""

_CORE_SCHEMA = (
    ("tag:yaml.org,2002:null", r"^(?:null|Null|NULL|~|)$", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("tag:yaml.org,2002:int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+0123456789."),
    ),
)


class _Loader(yaml.SafeLoader):
    """Composes nodes only; values are made from them below, where a key's line is still known."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # PyYAML's way to drop the rules of YAML 1.1
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases (they can blow up) and too deep nesting, then compose as usual."""
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it out
        if isinstance(event, yaml.AliasEvent):
            raise _refusal(f"the alias *{event.anchor} is refused; write the value out", event)
        if self.depth >= MAX_DEPTH:
            raise _refusal(f"nested deeper than {MAX_DEPTH} levels", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = {}  # noqa: RUF012  # as above: text that reads as 1e-4 needs quotes


for _tag, _pattern, _first in _CORE_SCHEMA:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _first)
    _Dumper.add_implicit_resolver(_tag, re.compile(_pattern), _first)


@dataclass(frozen=True)
class YamlTree:
    """What a YAML text holds, and on which line each value stands."""

    value: JsonValue
    lines: dict[Path, int] = field(default_factory=dict)
    """Line numbers, from 1, of keys and list items."""


def decode_yaml(content: bytes, *, origin: str) -> str:
    """Decode a file of settings, or of a cluster.

    Raises:
        ConfigError: if it is larger than any such file, or no UTF-8.
    """
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(
            f"{origin} is larger than {MAX_FILE_BYTES:,} bytes. Settings take about 10,000; this "
            "is some other file."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{origin}:{line}: byte {error.start} is not UTF-8. Save the file as UTF-8 text."
        ) from error


def parse_yaml(text: str, *, origin: str) -> YamlTree:
    """Read one YAML document.

    Args:
        text: the document.
        origin: what to call it in an error, such as the file's name.

    Raises:
        ConfigError: with the line, if it is no YAML, or uses what the module's head rules out.
    """
    lines: dict[Path, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return YamlTree(_value(node, path=(), lines=lines), lines)
    except yaml.YAMLError as error:
        raise ConfigError(_explain(error, origin)) from error
    except (OverflowError, ValueError) as error:  # an escape such as "\\UFFFFFFFF"
        raise ConfigError(f"{origin}: this is not the YAML of settings: {error}.") from error


def parse_documents(text: str, *, origin: str) -> list[YamlTree]:
    """Read all documents of a YAML text, such as a file of manifests.

    Raises:
        ConfigError: as `parse_yaml`.
    """
    trees = []
    try:
        loader = _Loader(text)
        while loader.check_node():
            lines: dict[Path, int] = {}
            trees.append(YamlTree(_value(loader.get_node(), path=(), lines=lines), lines))
    except yaml.YAMLError as error:
        raise ConfigError(_explain(error, origin)) from error
    except (OverflowError, ValueError) as error:  # an escape such as "\\UFFFFFFFF"
        raise ConfigError(f"{origin}: this is not the YAML of settings: {error}.") from error
    return trees


def format_scalar(value: JsonValue) -> str:
    """Write one value without line breaks, quoted where plain text would read as something else."""
    # single quotes would keep a line break as one
    style = '"' if isinstance(value, str) and not value.isprintable() else None
    text = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, default_style=style, width=1 << 30
    )
    return text.removesuffix("...\n").rstrip("\n")


def _value(node: yaml.Node | None, *, path: Path, lines: dict[Path, int]) -> JsonValue:
    if node is None:
        return None
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path=path, lines=lines)
    if isinstance(node, yaml.SequenceNode):
        return [
            _value(item, path=(*path, index), lines=lines) for index, item in enumerate(node.value)
        ]
    return _scalar(node)


def _mapping(node: yaml.MappingNode, *, path: Path, lines: dict[Path, int]) -> dict[str, JsonValue]:
    result: dict[str, JsonValue] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise _refusal("a key must be plain text", key_node)
        key = str(key_node.value)
        if key in result:
            first = lines[(*path, key)]
            raise _refusal(f"the key {key!r} stands here and on line {first}; keep one", key_node)
        lines[(*path, key)] = key_node.start_mark.line + 1
        result[key] = _value(value_node, path=(*path, key), lines=lines)
    return result


def _scalar(node: yaml.Node) -> JsonValue:
    text, kind = str(node.value), node.tag.removeprefix("tag:yaml.org,2002:")
    try:
        match kind:
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
            case "float":
                return float(text.replace(".inf", "inf").replace(".nan", "nan").lower())
            case "str":
                if "\0" in text:  # no path holds it
                    raise ValueError("NUL")
                text.encode()  # half a character, as "\\ud800" spells it, is no text
                return text
    except ValueError as error:
        raise _refusal(f"{text[:20]!r} is no {kind}", node) from error
    raise _refusal(f"the tag {node.tag} is refused; write a plain value", node)


def _refusal(problem: str, found: yaml.Node | yaml.Event) -> yaml.MarkedYAMLError:
    mark = found.start_mark
    assert isinstance(mark, yaml.Mark)  # the pure Python loader sets one on all it makes
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _explain(error: yaml.YAMLError, origin: str) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        place, problem = f"{origin}:{mark.line + 1}:{mark.column + 1}", error.problem
    else:
        place, problem = origin, " ".join(str(error).split())
    hint = " Indent with blanks, not tabs." if "'\\t'" in str(problem) else ""
    return f"{place}: this is not the YAML of settings: {problem}.{hint}"


def dotted(path: Sequence[str | int]) -> str:
    """Write a path the way `--set` takes it: `training.learning_rate`."""
    return ".".join(str(part) for part in path)
