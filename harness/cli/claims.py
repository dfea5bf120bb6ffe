"""All claims of the built-in recipes, with the verdicts of the committed boards."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from harness.engine import registry
from harness.engine.recipe import Method, load_recipe, profiles
from leaderboards.claims import Claim, DoseClaim, parse_claim
from leaderboards.overview import RESULTS, PaperClaims, side

ROOT = Path(__file__).resolve().parents[2]
MECHANISM, CONTROL = "nano", "nano-control"  # profiles


@cache
def paper_claims(results: Path = RESULTS) -> tuple[PaperClaims, ...]:
    """The claims of every built-in method that has a recipe, in the order of the catalogue."""
    found = []
    for entry in registry.entries("methods").values():
        method = registry.load("methods", entry.name)
        if entry.origin != "built-in" or not isinstance(method, Method) or not method.recipe_file:
            continue
        names = profiles(method.recipe_file)
        recipes = {name: load_recipe(method.recipe, method.recipe_file, name) for name in names}
        # Profiles repeat most of them.
        claims: dict[tuple[str, float | None, str], Claim | DoseClaim] = {}
        for name, recipe in recipes.items():
            for data in recipe.claims:
                claim = parse_claim(data, f"{entry.name}/{name}, claim")
                claims.setdefault((claim.id, claim.paper_effect, claim.source), claim)
        mechanism, control = (wanted if wanted in names else "" for wanted in (MECHANISM, CONTROL))
        found.append(
            PaperClaims(
                method=entry.name,
                title=next((r.title for r in recipes.values() if r.title), ""),
                paper=entry.paper,
                claims=tuple(claims.values()),
                mechanism=side(entry.name, mechanism, results),
                control=side(entry.name, control, results),
                prediction=prediction(method.recipe_file.parent),
            )
        )
    return tuple(found)


def prediction(folder: Path) -> str:
    """Path of a method's prediction from the root of the repository; "" if it has none there."""
    page = folder / "prediction.md"
    inside = page.is_file() and page.is_relative_to(ROOT)
    return page.relative_to(ROOT).as_posix() if inside else ""
