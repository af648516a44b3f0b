"""The `refrig` command. Commands are loaded when they run, so that help is quick; what they do lives below."""

from refrig_assets.cli.group import LazyGroup

COMMANDS = {
    "demo": ("refrig_assets.cli.demo:demo", "A whole fleet on this machine: from messages to alerts, live, in the UI."),
    "simulate": ("refrig_assets.cli.simulate:simulate", "Write a simulated fleet's landing files and their truth."),
    "import": ("refrig_assets.cli.importing:import_", "Bring a plant's own export into the landing directory."),
    "stream": ("refrig_assets.cli.stream:stream", "Land messages as they come, and raise CRITICAL alerts at once."),
    "score": ("refrig_assets.cli.scoring:score", "Score an hour's windows now, and show who stands out and why."),
    "models": ("refrig_assets.cli.models:models", "Which version of a model scores; compare, release, go back."),
    "evaluate": (
        "refrig_assets.cli.evaluate:evaluate",
        "How well failures are found, on a fleet whose faults are known.",
    ),
    "alerts": ("refrig_assets.cli.alerts:alerts", "What needs attention, and what people do about it."),
    "maintenance": ("refrig_assets.cli.maintenance:maintenance", "Work planned and done on machines; import it."),
    "label": ("refrig_assets.cli.labels:label", "Say what was true of a machine; the models learn from it."),
    "report": ("refrig_assets.cli.report:report", "The fleet's health in an hour, or how a day ended."),
    "notify": ("refrig_assets.cli.notify:notify", "Who is told what, through which channel; the notifier."),
    "status": ("refrig_assets.cli.status:status", "What is in the lake, how fresh it is, and what fails."),
    "doctor": ("refrig_assets.cli.doctor:doctor", "Whether this installation is able to run."),
}

main = LazyGroup(
    name="refrig",
    commands_at=COMMANDS,
    help="""Watch a fleet of refrigerators and say which machine is about to fail.

\b
Examples:
  refrig doctor
  refrig simulate --devices 1000 --hours 24 --out data/sim
  refrig import export.csv --map mapping.toml --dry-run
  refrig status --json
""",
)
