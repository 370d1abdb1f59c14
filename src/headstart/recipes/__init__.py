"""Named, complete experiments: `headstart run NAME --out DIR`."""

RECIPES: dict[str, str] = {
    "quickstart": "headstart.recipes.quickstart:Quickstart",
    "adroit-door": "headstart.recipes.adroit_door:AdroitDoor",
    "pointmaze-goals": "headstart.recipes.pointmaze_goals:PointmazeGoals",
}
"""Name -> "module:Class". Each is a frozen dataclass whose fields are its flags, with a method
`run(self, out: Path, resume: bool = False, sinks: Collection[str] = ()) -> None` that prints its table and where its
picture is."""
