"""Recipes on disk: those that come with the program, and those in the node's own folder."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import RecipeError
from orchestrator.recipe import Recipe

SHIPPED = Path(__file__).parent / "recipes"


def shipped() -> dict[str, Path]:
    """Files of the recipes that come with the program, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.json"))}


def read(path: Path) -> Recipe:
    """A recipe from a file. Raises RecipeError, with the file's name before each problem."""
    try:
        return Recipe.parse(path.read_bytes())
    except OSError as error:
        raise RecipeError([f"{path}: {error.strerror or error}"]) from None
    except RecipeError as error:
        raise RecipeError([f"{path.name}: {problem}" for problem in error.problems]) from None


def files_of(folder: Path) -> dict[Path, int]:
    """The recipes in a folder, each with the moment of its last change (ns)."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.glob("*.json"))}


def find(name: str, folder: Path | None = None) -> Path:
    """The file of a recipe named by path, by a file of the node's folder, or by a shipped name. Raises RecipeError."""
    here = Path(name)
    if here.suffix == ".json" and here.exists():
        return here
    if folder is not None and (folder / f"{name}.json").exists():
        return folder / f"{name}.json"
    if name in shipped():
        return shipped()[name]
    raise RecipeError([f"no recipe {name!r}: give a file, or one of {', '.join(shipped())}"])


def recipes_for_sale(wanted: Sequence[str], folder: Path) -> list[Recipe]:
    """The recipes a Timmy sells: the wanted ones, else all shipped ones; and whatever lies in the node's folder."""
    files = [find(name, folder) for name in wanted] if wanted else list(shipped().values())
    if folder.exists():
        files += sorted(folder.glob("*.json"))
    recipes = {recipe.d: recipe for recipe in map(read, files)}
    return list(recipes.values())
