"""The rules of the code that a syntax tree can show: layers, late imports, one test per module."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "phiray"

LAYERS = (
    {"phiray", "errors", "threads", "types"},
    {"batch", "node", "storage"},
    {"config", "text", "images", "runtime", "terminal", "tables"},
    {"data", "fetch", "models", "losses", "checkpoints", "clusters"},
    {"training", "planning"},
    {"features", "stages", "world"},
    {"evals"},
    {"jobs"},
    {"chain"},
    {"cli"},
    {"__main__"},
)
"""A part imports only from the lines above its own. `phiray` is the version in `__init__`."""

LATE_IMPORTS = {"cli.py", "stages/registry.py", "models/build.py"}
"""Files that may import inside a function: the command line, and the two registries."""
RAY_FILES = {"runtime.py", "data/pipeline.py"}
RAY_FOLDER = "jobs/"
ENVIRONMENT_FILES = {"runtime.py", "threads.py", "node.py"}
MAX_FUNCTION_LINES = 60
"""Doc string included; STYLE: rarely above 50."""
MAX_POSITIONAL = 5

MODULES = {
    str(path.relative_to(PACKAGE)): ast.parse(path.read_text(), str(path))
    for folder in (PACKAGE, PACKAGE / "evals")  # rglob does not enter a linked folder
    for path in sorted(folder.rglob("*.py"))
}
NODES = {file: list(ast.walk(tree)) for file, tree in MODULES.items()}


def part_of(module: str) -> str:
    """Return the part that a file or a dotted name below phiray belongs to."""
    first = module.replace("/", ".").removesuffix(".py").split(".")[0]
    return "phiray" if first == "__init__" else first


def line_of(part: str) -> int:
    return next(index for index, line in enumerate(LAYERS) if part in line)


def imported(node: ast.AST) -> list[str]:
    """Return the dotted names that an import statement brings in; none for another node."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: relative import"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def all_imports(file: str) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of each import."""
    for node in NODES[file]:
        for name in imported(node):
            yield getattr(node, "lineno", 0), name


def own_imports(file: str) -> Iterator[tuple[int, str]]:
    """Yield line and name below phiray of each import of our own code."""
    for line, name in all_imports(file):
        if name == "phiray" or name.startswith("phiray."):
            yield line, name.removeprefix("phiray").removeprefix(".")


def functions(file: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in NODES[file]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def called_name(node: ast.AST) -> str:
    """Return the last name of what a call calls; nothing for another node."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def positional_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    names = [item.arg for item in (*function.args.posonlyargs, *function.args.args)]
    return [name for name in names if name not in {"self", "cls"}]


def test_architecture_sees_the_code() -> None:
    assert {"cli.py", "errors.py", "config/load.py", "evals/__init__.py"} <= set(MODULES)


def test_links_are_relative_and_lead_to_the_top_level() -> None:
    assert (PACKAGE / "cli.py").readlink() == Path("../cli.py")
    assert (PACKAGE / "evals").readlink() == Path("../evals")


def test_every_part_has_a_line_in_the_table() -> None:
    parts = {part_of(file) for file in MODULES}
    assert parts - set().union(*LAYERS) == set()


def test_imports_point_downwards() -> None:
    wrong = [
        f"{file}:{line}: {part_of(file)} imports phiray.{name}"
        for file in MODULES
        for line, name in own_imports(file)
        if part_of(name or "phiray") != part_of(file)
        if line_of(part_of(name or "phiray")) >= line_of(part_of(file))
    ]
    assert wrong == []


def test_no_modules_import_one_another_in_a_circle() -> None:
    names = {file.removesuffix(".py").replace("/", "."): file for file in MODULES}
    names |= {name.removesuffix(".__init__"): file for name, file in names.items()}
    below = {
        file: {
            names[known]
            for _, name in own_imports(file)
            for known in (name, name.rpartition(".")[0])
            if known in names
        }
        - {file}
        for file in MODULES
    }
    while leaves := {file for file, others in below.items() if not others & below.keys()}:
        below = {file: others for file, others in below.items() if file not in leaves}
    assert sorted(below) == []


def test_no_import_inside_a_function() -> None:
    late = [
        f"{file}:{getattr(node, 'lineno', 0)} in {function.name}"
        for file in sorted(set(MODULES) - LATE_IMPORTS)
        for function in functions(file)
        for node in ast.walk(function)
        if imported(node) or called_name(node) in {"import_module", "__import__"}
    ]
    assert late == []


def test_ray_is_imported_only_where_it_is_run() -> None:
    found = {
        file
        for file in MODULES
        for _, name in all_imports(file)
        if name.split(".")[0] == "ray" and not file.startswith(RAY_FOLDER)
    }
    assert sorted(found - RAY_FILES) == []


def test_names_that_hide_the_truth_are_not_imported() -> None:
    """No TYPE_CHECKING, and neither `evals` nor `cli` without `phiray.` before it."""
    wrong = [
        f"{file}:{line}: {name}"
        for file in MODULES
        for line, name in all_imports(file)
        if name.split(".")[0] in {"evals", "cli"} or name.endswith("TYPE_CHECKING")
    ]
    assert wrong == []


def test_environment_is_read_only_by_the_runtime() -> None:
    reads = [
        f"{file}:{getattr(node, 'lineno', 0)}"
        for file in sorted(set(MODULES) - ENVIRONMENT_FILES)
        for node in NODES[file]
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "putenv"})
        or {"os.environ", "os.getenv"} & set(imported(node))
    ]
    assert reads == []


def test_modules_say_what_they_do_and_what_they_do_not() -> None:
    texts = {file: ast.get_docstring(tree) or "" for file, tree in MODULES.items()}
    assert [file for file, text in texts.items() if not text] == []
    frames = ("__init__.py", "__main__.py")
    silent = [file for file, text in texts.items() if "Limits:" not in text]
    assert [file for file in silent if not file.endswith(frames)] == []


def test_functions_are_short() -> None:
    wrong = [
        f"{file}: {function.name} has {length} lines"
        for file in MODULES
        for function in functions(file)
        if (length := (function.end_lineno or 0) - function.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert wrong == []


def test_functions_take_few_positional_arguments() -> None:
    wrong = [
        f"{file}: {function.name} takes {len(names)}"
        for file in sorted(set(MODULES) - {"cli.py"})  # typer makes options of them
        for function in functions(file)
        if (names := positional_names(function)) and len(names) > MAX_POSITIONAL
    ]
    assert wrong == []


def test_our_classes_inherit_only_from_config_and_errors() -> None:
    classes = [
        (file, node) for file in MODULES for node in NODES[file] if isinstance(node, ast.ClassDef)
    ]
    own = {node.name for _, node in classes}
    wrong = [
        f"{file}: {node.name}({base.id})"
        for file, node in classes
        for base in node.bases
        if isinstance(base, ast.Name) and base.id in own
        if base.id != "Config" and not base.id.endswith("Error")
    ]
    assert wrong == []


def test_every_module_has_a_test_and_every_test_a_module() -> None:
    unit = ROOT / "tests" / "unit"
    frames = ("__init__.py", "__main__.py", "cli.py")  # cli.py has tests/cli
    modules = {file for file in MODULES if not file.endswith(frames)}
    tests = {
        str(path.relative_to(unit).with_name(path.name.removeprefix("test_")))
        for path in unit.rglob("test_*.py")
    }
    assert sorted(modules - tests) == []
    assert sorted(tests - modules) == []


def test_every_raises_says_which_message_it_expects() -> None:
    silent = [
        f"{path.name}:{getattr(node, 'lineno', 0)}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and called_name(node) == "raises"
        if "match" not in {keyword.arg for keyword in node.keywords}
    ]
    assert silent == []
