"""Expressions: Kubernetes CEL, compiled and evaluated on JSON-like data, with Kubernetes' functions.

    program = compile("self.replicas <= self.most", {"self": DYN})
    program.evaluate({"self": {"replicas": 1, "most": 3}})    # True

The language itself is Google's C++ implementation (cel-expr-python); `library` adds the functions of Kubernetes, `typed` checks an
expression against an OpenAPI schema. Source: k8s.io/apiserver/pkg/cel; cel.dev.
"""

from .errors import CelError, CompileError, EvaluationError, OutOfBudget
from .library.authorization import Attributes, Decision
from .meter import CONDITIONS_MOST, Budget
from .program import AUTHORIZER, BOOL, DYN, INT, RESOURCE_CHECK, STRING, Program, compile
from .typed import as_values, check

__all__ = [
    "AUTHORIZER",
    "BOOL",
    "CONDITIONS_MOST",
    "DYN",
    "INT",
    "RESOURCE_CHECK",
    "STRING",
    "Attributes",
    "Budget",
    "CelError",
    "CompileError",
    "Decision",
    "EvaluationError",
    "OutOfBudget",
    "Program",
    "as_values",
    "check",
    "compile",
]
