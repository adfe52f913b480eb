"""What a block is: a frozen set of typed parameters and one method, `expand`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic.functional_validators import BeforeValidator
from pydantic_core import InitErrorDetails

from blockforge.errors import BlockforgeError
from blockforge.explain import block_name, explain
from blockforge.field_types import Search, annotated, check_bounds, refusal, types_of
from blockforge.graph import Value
from blockforge.scope import Scope

STAGE_KEYS = ("block", "depth", "from", "scope", "scale")
"""What a stage says beside its block's parameters; no block may have a field of these names."""

_RESERVED = (*STAGE_KEYS, "after")  # `after` places a stage where a network extends another


_NO_VALUES = (int, float, bool, str, "int", "float", "bool", "str")  # what somebody may take for a parameter


class Block(BaseModel):
    """A family of subgraphs: typed parameters, and `expand`, which adds the ops for real input shapes.

    A subclass is a frozen pydantic model with hashable fields. `expand(g, x)` takes one input, `expand(g, *xs)`
    several. Its name in files is the class's name in snake_case.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_default=True,
        allow_inf_nan=False,
        ignored_types=(cached_property,),
    )

    name: ClassVar[str] = "block"
    paper: ClassVar[str] = ""
    about: ClassVar[str] = ""
    repeatable: ClassVar[bool] = True
    """Whether a stage of it is a series: its default scope is `KEY.{n}` then, also at depth 1."""
    arity: ClassVar[int | None] = 1
    """How many inputs `expand` takes; None for any number."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.name = snake_case(cls.__name__)
        check_block_class(cls)
        parameters = list(inspect.signature(cls.expand).parameters.values())[2:]
        for parameter in parameters:
            if parameter.annotation in _NO_VALUES:
                raise BlockforgeError(
                    f"block {cls.__name__}: expand takes values, but {parameter.name!r} is none; "
                    "make it a field, or read it off x.shape"
                )
        cls.arity = _arity(cls)
        doc = inspect.cleandoc(vars(cls).get("__doc__") or "")  # its own: a parent's says something else
        cls.about = doc.partition("\n\n")[0].replace("\n", " ")

    # So declared that a type checker takes `expand(self, g, x)` in a subclass, and still looks at what it returns.
    def expand(self, g: Scope, *xs: Any, **_: Any) -> Value:
        """Add the block's ops to the scope `g` and return its output."""
        raise NotImplementedError

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """The block as a plain tuple: what the cost is memoised by."""
        return (type(self), *[_keyed(getattr(self, name)) for name in type(self).model_fields])

    @cached_property
    def after_first(self) -> Block:
        """The same block for the second and later repeats of a stage: with stride 1."""
        stride = getattr(self, "stride", 1)
        one = tuple([1] * len(stride)) if isinstance(stride, tuple) else 1
        if stride == one:
            return self
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        try:
            return type(self)(**(fields | {"stride": one}))
        except ValidationError:
            raise BlockforgeError(
                f"{self.name}: it repeats with stride 1, which it refuses; set its depth to 1"
            ) from None

    def parameters(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as plain data; a nested block as its own such mapping."""
        plain: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if field.is_required() or value != field.default:
                plain[name] = listed(value)
        return plain

    def spec(self) -> dict[str, Any]:
        """The block as files write it: its name and the fields that differ from their defaults."""
        return {"block": self.name, **self.parameters()}

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Block) and self.key == other.key


def _keyed(value: Any) -> Any:
    """A field's value as part of a key, which tells 1, 1.0 and True apart: they are equal in Python."""
    if isinstance(value, Block):
        return value.key
    return (type(value), value) if isinstance(value, bool | float) else value


def listed(value: Any) -> Any:
    """Plain data as files hold it: tuples as lists, a block as its spec, or its name where that says all."""
    if isinstance(value, Block):
        return value.spec() if value.parameters() else value.name
    if isinstance(value, list | tuple):
        return [listed(item) for item in value]
    return {key: listed(item) for key, item in value.items()} if isinstance(value, dict) else value


def blocks_within(value: Any) -> Iterator[Block]:
    """A block and those that its fields hold, also within tuples."""
    if isinstance(value, Block):
        yield value
        value = tuple([getattr(value, name) for name in type(value).model_fields])
    if isinstance(value, tuple):
        for item in value:
            yield from blocks_within(item)


def resolve_block(value: Any, info: ValidationInfo) -> Any:
    """Make a nested block of what a file says, by the `resolve` in pydantic's validation context."""
    if value is None or isinstance(value, Block):
        return value
    resolve: Callable[[str], type[Block]] | None = (info.context or {}).get("resolve")
    given = {"block": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or not isinstance(given.get("block"), str):
        raise refusal(f"must be a block's name or {{block: NAME, ...}}, but is {value!r}")
    if resolve is None:
        raise refusal(f"a name is looked up in a network only; pass the block itself, but got {value!r}")
    fields = {key: item for key, item in given.items() if key != "block"}
    try:
        cls = resolve(given["block"])
    except BlockforgeError as error:
        raise refusal(str(error)) from None
    try:
        return cls.model_validate(fields, context=info.context)
    except ValidationError as error:
        details = [
            InitErrorDetails(type=refusal(message), loc=loc, input=None)
            for loc, message in explain(error, cls, block_name(cls))  # whoever made the outer block can't name this one
        ]
        raise ValidationError.from_exception_data(cls.__name__, details) from None


BlockSpec = Annotated[Block, BeforeValidator(resolve_block)]
"""A nested block: a name or `{block: NAME, ...}` in files, a block when `expand` sees it."""


def snake_case(name: str) -> str:
    """`SqueezeExcitation` as `squeeze_excitation`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def check_block_class(cls: type[Block]) -> None:
    """Refuse a class that can't be a block; raises `BlockforgeError`."""
    where = f"block {cls.__name__}"
    if cls.expand is Block.expand and not inspect.isabstract(cls):
        raise BlockforgeError(f"{where}: it has no expand; write `def expand(self, g: Scope, x: Value) -> Value`")
    if "__init__" in vars(cls):
        raise BlockforgeError(f"{where}: it has an __init__; a block has fields instead: write `width: Channels = 64`")
    if _arity(cls) == 0:
        raise BlockforgeError(
            f"{where}: its expand takes no input; write `def expand(self, g: Scope, x: Value) -> Value`, or *xs for "
            "several"
        )
    for name, field in cls.model_fields.items():
        if name in _RESERVED or hasattr(Block, name):
            whose = "stages have" if name in _RESERVED else "every block has"
            raise BlockforgeError(f"{where}: {whose} a {name!r} already; name the field otherwise")
        for kind in types_of(field.annotation):
            if kind in (Any, object):
                raise BlockforgeError(
                    f"{where}: field {name!r} may be anything, which can't be checked; give it a type, as in "
                    f"`{name}: int` or `{name}: Literal['a', 'b']`"
                )
            if isinstance(kind, type) and getattr(kind, "__hash__", None) is None:
                raise BlockforgeError(
                    f"{where}: field {name!r} is a {kind.__name__}, which can't be hashed; use a tuple or a frozen type"
                )
        for kind, metadata in ((field.annotation, field.metadata), *annotated(field.annotation)):
            check_bounds(f"{where}: field {name!r}", kind, metadata)
    # The built-in ones' schemas come later, at their first use, and tests make each of them; a type that is defined
    # further down in a plugin's file comes later, too.
    if not Block.model_config.get("defer_build") and cls.model_rebuild(raise_errors=False) is not False:
        _check_values(cls, where)


def _arity(cls: type[Block]) -> int | None:
    """How many inputs a class's expand takes beside itself and the scope; None for any number."""
    parameters = inspect.signature(cls.expand).parameters.values()
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return None
    return len([each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)][2:])


def _check_values(cls: type[Block], where: str) -> None:
    """Refuse a default, or a value of `Search`, that the field itself refuses; raises `BlockforgeError`."""
    for name, message in _mistakes(cls, {}):
        raise BlockforgeError(
            f"{where}: the default of field {name!r} {message}; give another default, or wider bounds"
        )
    for name, field in cls.model_fields.items():
        for choice in next((item.choices for item in field.metadata if isinstance(item, Search)), ()):
            for wrong, message in _mistakes(cls, {name: choice}):
                if wrong == name:
                    raise BlockforgeError(f"{where}: in Search of field {name!r}, a value {message}; leave it out")


def _mistakes(cls: type[Block], values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields that refuse their defaults, or these values, with the reason; nested blocks are left out.

    A name in the place of a nested block is looked up in a network only.
    """
    try:
        cls.model_validate(values)
    except ValidationError as error:
        missing = {item["loc"] for item in error.errors() if item["type"] == "missing"}
        for loc, message in explain(error, cls, block_name(cls)):
            if loc and loc not in missing and not is_block(cls.model_fields[str(loc[0])]):
                yield str(loc[0]), message


def is_block(field: FieldInfo) -> bool:
    """Whether a field is a nested block, or that or nothing (`BlockSpec | None`)."""

    def nested(annotation: Any) -> bool:
        parts = get_args(annotation)
        return (isinstance(annotation, type) and issubclass(annotation, Block)) or any(map(nested, parts))

    return nested(field.annotation)
