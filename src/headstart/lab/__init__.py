"""Small exact studies of why things happen: `headstart lab NAME`."""

LABS: dict[str, str] = {
    "overestimation": "headstart.lab.overestimation:Overestimation",
}
"""Name -> "module:Class". Each is a frozen dataclass whose fields are its flags, with a method
`run(self, out: Path | None = None) -> None` that prints what was found and writes its figure and numbers to `out`."""
