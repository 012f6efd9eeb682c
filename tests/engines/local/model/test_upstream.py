"""mistral_inference's modules are had without xformers, whether it is absent, broken or there; and quickly, with nothing left."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from pixtral_cli.engines.local.runtime.gc_pause import with_gc_paused

ASK = """
import sys
from pathlib import Path
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.engines.local.engine import LocalEngine
before = {name for name in sys.modules if name.startswith("xformers")}
engine = LocalEngine(Path(sys.argv[1]), device="cpu")
print(len(list(engine.stream([user("hi")], Sampling(temperature=0, max_tokens=5)))) > 0)
print({name for name in sys.modules if name.startswith("xformers")} == before)
"""


def python(code: str, *arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process; `path` comes first on its module path."""
    start = f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else ""
    return subprocess.run([sys.executable, "-c", start + code, *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.engines.local.checkpoints import build

    return build(tmp_path_factory.mktemp("random"))


def test_without_xformers_an_answer_comes_and_nothing_is_printed(folder: Path) -> None:
    done = python(ASK, folder)
    assert (done.stdout, done.stderr) == ("True\nTrue\n", "")


def test_a_broken_xformers_is_never_imported(folder: Path, tmp_path: Path) -> None:
    package = tmp_path / "xformers" / "ops" / "fmha"
    package.mkdir(parents=True)
    (tmp_path / "xformers" / "__init__.py").write_text("raise ImportError('built for another torch')")
    done = python(ASK, folder, path=tmp_path)
    assert (done.stdout, done.stderr) == ("True\nTrue\n", "")


def test_an_xformers_that_was_imported_before_stays_as_it_was(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "xformers").mkdir()
    (tmp_path / "xformers" / "__init__.py").write_text("mine = 1")
    done = python("import xformers\n" + ASK + "assert sys.modules['xformers'].mine", folder, path=tmp_path)
    assert (done.stdout, done.stderr) == ("True\nTrue\n", "")


def test_an_engine_is_made_without_anything_heavy(folder: Path) -> None:
    done = python(
        "import sys\nfrom pathlib import Path\nfrom pixtral_cli.engines.local.engine import LocalEngine\n"
        "LocalEngine(Path(sys.argv[1]))\n"
        "print({'torch', 'mistral_common', 'mistral_inference', 'numpy', 'PIL', 'safetensors'} & set(sys.modules))",
        folder,
    )
    assert done.stdout == "set()\n", done.stderr


def test_measuring_needs_no_torch_and_no_weights(folder: Path, tmp_path: Path) -> None:
    for name in ("params.json", "tekken.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    done = python(
        "import sys\nfrom pathlib import Path\nfrom pixtral_cli.engines.local.engine import LocalEngine\n"
        "from pixtral_cli.chat.message import user\n"
        "print(LocalEngine(Path(sys.argv[1])).measure([user('hi')]).prompt_tokens, 'torch' in sys.modules)",
        tmp_path,
    )
    assert done.stdout == "5 False\n", done.stderr


def test_nothing_is_collected_while_libraries_are_imported_nor_looked_through_afterwards(folder: Path) -> None:
    done = python(
        "import gc, sys\nfrom pathlib import Path\nfrom pixtral_cli.engines.local.engine import LocalEngine\n"
        "whole = []\n"
        "gc.callbacks.append(lambda phase, info: whole.append(phase) if info['generation'] == 2 else None)\n"
        "LocalEngine(Path(sys.argv[1]), device='cpu').load()\n"
        "print(whole, gc.isenabled(), len(gc.get_objects()) < 50_000 < gc.get_freeze_count())",
        folder,
    )
    assert done.stdout == "[] True True\n", done.stderr


def test_the_collector_is_on_again_after_the_last_import_even_one_that_fails() -> None:
    def fail() -> None:
        assert not gc.isenabled()
        with_gc_paused(lambda: None)
        assert not gc.isenabled(), "another import still goes on"
        raise ImportError

    with pytest.raises(ImportError):
        with_gc_paused(fail)
    assert gc.isenabled()
