"""A Flower project around fedsec's own, whose clients do one evil thing a round where their node is told to.

``CLIENT`` is its client_app.py, which runs in the processes of a SuperNode.
"""

from pathlib import Path

PROJECT = Path(__file__).parents[2]

CLIENT = '''
import copy
import json

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.app.message import make_message
from flwr.clientapp import ClientApp
from flwr.supercore.inflatable.inflatable_object import add_header_to_object_body

from fedsec import client_app

EXAMPLES = {"num-examples": 10, "loss": 0.1}


class Exploding:
    """Creates a file where it is unpickled."""

    def __reduce__(self):
        return (open, (FILE, "w"))


def pickled(arrays):
    """An array whose bytes are a pickle, and one that is an npy file of objects."""
    import io, pickle
    file = io.BytesIO()
    np.save(file, np.array([Exploding()], dtype=object), allow_pickle=True)
    payloads = [pickle.dumps(Exploding()), file.getvalue()]
    names = list(arrays)
    return {
        key: Array(array.dtype, array.shape, array.stype, payloads[names.index(key) % 2])
        for key, array in arrays.items()
    }


class NoJson(ArrayRecord):
    def deflate(self):
        return add_header_to_object_body(object_body=b"this is no JSON", obj=self)


class ManyTimes(Array):
    """An array that names its one piece of 100 kB ten thousand times: 1 GB once it is put together."""

    def deflate(self):
        body = {"dtype": self.dtype, "shape": self.shape, "stype": self.stype, "arraychunk_ids": [0] * 10_000}
        return add_header_to_object_body(object_body=json.dumps(body).encode(), obj=self)


class Forged(Message):
    """A message that says of itself that it comes from another node."""

    def deflate(self):
        other = copy.copy(self.metadata)
        other.__dict__["_src_node_id"] = 4711
        return make_message(other, content=self.content).deflate()


NoJson.__qualname__, ManyTimes.__qualname__, Forged.__qualname__ = "ArrayRecord", "Array", "Message"


def huge(arrays):
    rng = np.random.default_rng(0)
    return {key: Array(rng.standard_normal(64 * 2**17)) for key in list(arrays)[:1]}


def tiny(arrays):
    return {f"a{i}": Array(np.full(1, i)) for i in range(200)}


def paths(arrays):
    names = ["../../../../etc/passwd", "/tmp/evil", "nul\\0byte", "line\\nfeed \\x1b[31m", "k" * 2**20]
    return {name: array for name, array in zip(names, arrays.values())}


def many_times(arrays):
    return {key: ManyTimes(array.dtype, array.shape, array.stype, b"x" * 100_000) for key, array in arrays.items()}


DEEDS = {"huge": huge, "tiny": tiny, "paths": paths, "pickle": pickled, "many-times": many_times}


class Nodes(ClientApp):
    """fedsec's clients, but for a hostile node's answers to what it should train."""

    def __call__(self, message: Message, context: Context) -> Message:
        config = dict(context.node_config)
        deeds = str(config.pop("hostile", "")).split()
        node = Context(context.run_id, context.node_id, config, context.state, context.run_config)
        reply = client_app.app(message, node)
        if not deeds or message.metadata.message_type != "train":
            return reply
        number = next(iter(message.content.config_records.values()))["server-round"]
        deed = deeds[(number - 1) % len(deeds)]
        arrays = next(iter(message.content.array_records.values()))
        records = {"arrays": ArrayRecord(), "metrics": MetricRecord(EXAMPLES)}
        if deed in DEEDS:
            for key, array in DEEDS[deed](arrays).items():
                records["arrays"][key] = array
        if deed == "no-json":
            records["arrays"] = NoJson(dict(arrays))
        answer = Message(RecordDict(records), reply_to=message)
        if deed == "forged":
            record = next(iter(reply.content.array_records.values()))
            answer = Message(RecordDict({"arrays": record, "metrics": MetricRecord(EXAMPLES)}), reply_to=message)
            answer.__class__ = Forged
        return answer


app = Nodes()
'''

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "hostileapp"
version = "1.0.0"
license = "Apache-2.0"
dependencies = ["flwr>=1.41.0"]

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "somebody"

[tool.flwr.app.components]
serverapp = "hostileapp.server_app:app"
clientapp = "hostileapp.client_app:app"

"""


def write_app(folder: Path, created: Path) -> Path:
    """Write the project into ``folder``; unpickling what its clients send would create the file ``created``."""
    package = folder / "hostileapp"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "server_app.py").write_text("from fedsec import server_app\n\napp = server_app.app\n")
    (package / "client_app.py").write_text(CLIENT.replace("FILE", repr(str(created)), 1))
    (folder / "pyproject.toml").write_text(PYPROJECT + defaults())
    return folder


def defaults() -> str:
    """Return the table of fedsec's pyproject.toml that names every key of a run."""
    lines = (PROJECT / "pyproject.toml").read_text().splitlines()
    start = lines.index("[tool.flwr.app.config]")
    return "\n".join(lines[start : lines.index("", start)]) + "\n"
