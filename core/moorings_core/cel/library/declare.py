"""Declaring functions: one line of signature over a plain Python function.

    @function("quantity", "string", gives="kubernetes.Quantity")
    @method("isGreaterThan", "kubernetes.Quantity", "kubernetes.Quantity", gives="bool")

Values of Kubernetes' own types travel through the evaluator as messages with one text, the canonical form, so that == is equality.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

F = TypeVar("F", bound=Callable[..., Any])

QUANTITY, SEMVER, URL, IP, CIDR = "kubernetes.Quantity", "kubernetes.Semver", "kubernetes.URL", "net.IP", "net.CIDR"
AUTHORIZER, PATH_CHECK, GROUP_CHECK, RESOURCE_CHECK, DECISION = (
    f"kubernetes.authorization.{name}" for name in ("Authorizer", "PathCheck", "GroupCheck", "ResourceCheck", "Decision")
)
OPAQUE = (QUANTITY, SEMVER, URL, IP, CIDR, AUTHORIZER, PATH_CHECK, GROUP_CHECK, RESOURCE_CHECK, DECISION)
ANY = "any"
"""A parameter of any type: `dyn` as a parameter's type matches no value"""
TEXT_FIELD = "text_"


@dataclass(frozen=True, slots=True)
class Declared:
    """One overload of a function; receiver: the first parameter stands before the dot."""

    name: str
    parameters: tuple[str, ...]
    gives: str
    receiver: bool
    run: Callable[..., Any]

    @property
    def id(self) -> str:
        """The name of the overload."""
        return f"{self.name}_{'_'.join(self.parameters)}".replace(".", "_").replace(" ", "_")


declared: list[Declared] = []
"""Every overload, in the order of declaration"""


def function(name: str, *parameters: str, gives: str) -> Callable[[F], F]:
    """Declare a function; types are CEL's names, `list T` and the opaque names above."""
    return _declare(name, parameters, gives, False)


def method(name: str, *parameters: str, gives: str) -> Callable[[F], F]:
    """Declare a function that is called on its first parameter."""
    return _declare(name, parameters, gives, True)


def _declare(name: str, parameters: tuple[str, ...], gives: str, receiver: bool) -> Callable[[F], F]:
    def take(run: F) -> F:
        declared.append(Declared(name, parameters, gives, receiver, run))
        return run

    return take


def describe(pool: descriptor_pool.DescriptorPool) -> None:
    """Add the opaque types to a pool of message types."""
    for package in sorted({name.rpartition(".")[0] for name in OPAQUE}):
        file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
        for name in (n for n in OPAQUE if n.rpartition(".")[0] == package):
            fields = file.message_type.add(name=name.rpartition(".")[2]).field
            fields.add(name=TEXT_FIELD, number=1, type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING, label=1)
        pool.Add(file)


_pool = descriptor_pool.DescriptorPool()
describe(_pool)
_classes = {name: message_factory.GetMessageClass(_pool.FindMessageTypeByName(name)) for name in OPAQUE}


def box(name: str, text: str) -> Message:
    """Return a value of an opaque type."""
    return _classes[name](**{TEXT_FIELD: text})


def unbox(value: Any) -> str:
    """Return the text of a value of an opaque type."""
    return str(getattr(value, TEXT_FIELD))


def type_of(value: Any) -> str:
    """Return the name of an opaque value's type."""
    return str(value.DESCRIPTOR.full_name) if isinstance(value, Message) else type(value).__name__
