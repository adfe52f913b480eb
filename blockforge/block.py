"""What a block is: a frozen set of typed parameters and one method, `expand`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic.functional_validators import BeforeValidator
from pydantic_core import InitErrorDetails, PydanticCustomError

from blockforge.errors import BlockforgeError
from blockforge.explain import block_name, explain
from blockforge.graph import Value
from blockforge.scope import Scope

MAX_CHANNELS = 2**20

STAGE_KEYS = ("block", "depth", "from", "scope", "scale")
"""What a stage says beside its block's parameters; no block may have a field of these names."""

_RESERVED = (*STAGE_KEYS, "after")  # `after` places a stage where a network extends another


class Search:
    """The values that a search may try for a field (`any` in a space); no bound on what a file may say."""

    def __init__(self, *choices: Any) -> None:
        self.choices = choices

    def __repr__(self) -> str:
        return f"Search({', '.join(map(repr, self.choices))})"


class ScaledWidth:
    """Marks a field as a number of channels: what a change of the whole network's width acts on."""


def refusal(message: str) -> PydanticCustomError:
    """An error of pydantic that says just this: its templates know no formats such as `{value:,}`."""
    return PydanticCustomError("block", "{message}", {"message": message})


def _at_most_channels(value: int) -> int:
    if value > MAX_CHANNELS:
        raise refusal(f"must be at most {MAX_CHANNELS:,}, but is {value:,}")
    return value


# The cap is no `le` bound: `any` would take it for a range to search.
Channels = Annotated[int, Field(ge=1), AfterValidator(_at_most_channels), ScaledWidth()]
"""A number of channels."""
Kernel = Annotated[int, Field(ge=1), Search(3, 5, 7)]
"""A square kernel's size in pixels."""
Stride = Annotated[int, Field(ge=1)]
"""The step of a convolution or pool in pixels; what repeats a block does so with stride 1."""
Ratio = Annotated[float, Field(gt=0)]
"""A factor between two numbers of channels."""
Groups = Annotated[int, Field(ge=1)]
"""The number of groups that a convolution's channels fall into."""
Probability = Annotated[float, Field(ge=0, lt=1)]
"""A probability, such as dropout's."""
Activation = Literal["relu", "relu6", "silu", "hardswish", "sigmoid", "hardsigmoid", "tanh", "gelu", "softmax"]
"""The name of an activation."""


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
        variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        cls.arity = None if variadic else len(parameters)
        doc = inspect.cleandoc(vars(cls).get("__doc__") or "")  # its own: a parent's says something else
        cls.about = doc.partition("\n\n")[0].replace("\n", " ")

    def expand(self, g: Scope, *xs: Value) -> Value:
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
                plain[name] = _plain(value)
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


def _plain(value: Any) -> Any:
    if isinstance(value, Block):
        return value.spec() if value.parameters() else value.name
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


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
    for name, field in cls.model_fields.items():
        if name in _RESERVED or hasattr(Block, name):
            raise BlockforgeError(
                f"{where}: a stage or every block has a {name!r} of its own; name the field otherwise"
            )
        for kind in _types(field.annotation):
            if isinstance(kind, type) and getattr(kind, "__hash__", None) is None:
                raise BlockforgeError(
                    f"{where}: field {name!r} is a {kind.__name__}, which can't be hashed; use a tuple or a frozen type"
                )
        for metadata in (field.metadata, *_metadata(field.annotation)):
            _check_bounds(f"{where}: field {name!r}", metadata)
    # The built-in ones' schemas come later, at their first use, and tests make each of them; a type that is defined
    # further down in a plugin's file comes later, too.
    if not Block.model_config.get("defer_build") and cls.model_rebuild(raise_errors=False) is not False:
        _check_values(cls, where)


def _check_bounds(where: str, metadata: Iterable[Any]) -> None:
    """Refuse bounds that no value is within, and an empty `Search()`; raises `BlockforgeError`."""
    items = list(_flat(metadata))
    if any(isinstance(item, Search) and not item.choices for item in items):
        raise BlockforgeError(f"{where} has an empty Search(); name the values to try, as in Search(2, 4)")
    lows = [(low, "at least" if isinstance(item, Ge) else "above") for item in items for low in _bound(item, Ge, Gt)]
    highs = [(high, "at most" if isinstance(item, Le) else "below") for item in items for high in _bound(item, Le, Lt)]
    for low, from_ in lows:
        for high, to in highs:
            if low > high or (low == high and (from_, to) != ("at least", "at most")):
                raise BlockforgeError(
                    f"{where} can have no value: it must be {from_} {low:,} and {to} {high:,}; mend its bounds"
                )


def _bound(item: Any, closed: type[Ge | Le], strict: type[Gt | Lt]) -> list[float]:
    key = {Ge: "ge", Gt: "gt", Le: "le", Lt: "lt"}
    return [getattr(item, key[kind]) for kind in (closed, strict) if isinstance(item, kind)]


def _metadata(annotation: Any) -> Iterator[tuple[Any, ...]]:
    """What stands beside each type within an annotation: `Annotated[int, Field(ge=1)] | None`."""
    if get_origin(annotation) is Annotated:
        yield get_args(annotation)[1:]
    if get_origin(annotation) is not Literal:
        for argument in get_args(annotation):
            yield from _metadata(argument)


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    """The constraints themselves: pydantic leaves a `Field` whole inside of a union."""
    for item in metadata:
        yield item
        yield from getattr(item, "metadata", ())


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


def _types(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Literal:
        return
    if origin is None:
        yield annotation
        return
    yield get_args(annotation)[0] if origin is Annotated else origin
    for argument in get_args(annotation):
        if argument is not Ellipsis:
            yield from _types(argument)


def is_width(field: FieldInfo) -> bool:
    """Whether a field is a number of channels, or that or nothing (`Channels | None`)."""

    def marked(annotation: Any) -> bool:
        parts = get_args(annotation)
        return any(isinstance(part, ScaledWidth) or marked(part) for part in parts)

    return any(isinstance(item, ScaledWidth) for item in field.metadata) or marked(field.annotation)


def is_block(field: FieldInfo) -> bool:
    """Whether a field is a nested block, or that or nothing (`BlockSpec | None`)."""

    def nested(annotation: Any) -> bool:
        parts = get_args(annotation)
        return (isinstance(annotation, type) and issubclass(annotation, Block)) or any(map(nested, parts))

    return nested(field.annotation)


def any_values(cls: type[Block], name: str) -> tuple[Any, ...] | range | None:
    """What `any` means for a field: its `Search` choices, its literals, or the range between its bounds."""
    field = cls.model_fields[name]
    metadata = list(field.metadata)
    annotation = field.annotation
    for item in metadata:
        if isinstance(item, Search):
            return item.choices
    if annotation is bool:
        return (False, True)
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    low = next((item.ge for item in metadata if isinstance(item, Ge)), None)
    high = next((item.le for item in metadata if isinstance(item, Le)), None)
    if annotation is int and isinstance(low, int) and isinstance(high, int):
        return range(low, high + 1)
    return None
