"""Named, complete experiments: `headstart run NAME --out DIR`."""

RECIPES: dict[str, str] = {
    "quickstart": "headstart.recipes.quickstart:Quickstart",
    "adroit-door": "headstart.recipes.adroit_door:AdroitDoor",
    "cube": "headstart.recipes.cube:Cube",
    "labels": "headstart.recipes.labels:Labels",
    "latent-actions": "headstart.recipes.latent_actions:LatentActions",
    "matrix": "headstart.recipes.matrix:Matrix",
    "multi-task": "headstart.recipes.multi_task:MultiTask",
    "passive": "headstart.recipes.passive:Passive",
    "pointmaze-goals": "headstart.recipes.pointmaze_goals:PointmazeGoals",
    "antmaze-goals": "headstart.recipes.antmaze_goals:AntmazeGoals",
}
"""Name -> "module:Class". Each is a frozen dataclass whose fields are its flags, with a method
`run(self, out: Path, resume: bool = False, sinks: Collection[str] = ()) -> None` that prints its table and where its
picture is."""
