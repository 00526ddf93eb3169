"""JSON that somebody else wrote, or an earlier version: read and checked here alone, before any of it is used."""

import codecs
import functools
import pathlib
import reprlib

LARGEST = 16 * 2**20  # bytes of a document, unless its reader expects more; ours
TOLD = 3  # mistakes of a document that an error names; ours
LONGEST = 60  # characters of a place in a document that are shown; ours


class Malformed(ValueError):
    """JSON that is not what is expected.

    Attributes:
        mistake: what is wrong with it, in a few words.
    """

    def __init__(self, source, mistake):
        """Makes the message."""
        super().__init__(f"Expected JSON of the form that is read here. Received: {source} ({mistake}).")
        self.mistake = mistake


def read(path, form, extra="ignore", largest=LARGEST):
    """What a JSON file says; as `parse`.

    Args:
        path: the file.
        form: see `parse`.
        extra: see `parse`.
        largest: bytes that the file may have.

    Raises:
        OSError: if it cannot be read.
        ValueError: in one line that names the file, if it is larger, no JSON, or of another form.
    """
    with pathlib.Path(path).open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"Expected a document of at most {largest} bytes. Received: {path}, which is larger.")
    return parse(content, form, path, extra)


def parse(content, form, source, extra="ignore", finite=True):
    """What JSON says, as values of the types that are expected.

    Nothing is converted but a whole number to a float and a list to a tuple: neither a text to a number nor a truth
    value to an integer. Numbers that the form asks for are finite.

    Args:
        content: bytes of UTF-8, with or without a byte order mark, or str.
        form: the type that is expected: a dataclass, whose fields without a default have to be there, or a type such
            as `dict[str, list[float]]`. `object` stands for any JSON.
        source: the name of the file or server that it comes from, for the error.
        extra: what is done about members of an object that its dataclass does not have: "ignore" or "forbid".
        finite: whether all other numbers are to be finite too, as JSON wants it; some programs write NaN.

    Returns:
        A value of the type `form`.

    Raises:
        Malformed: in one line that names the source, if it is not UTF-8, not JSON, nested deeper than 200 levels, or
            of another form.
    """
    import pydantic
    import pydantic_core

    content = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        pydantic_core.from_json(content, allow_inf_nan=not finite)  # NaN passes a form that says `object`
        return checked(form).model_validate_json(content, extra=extra).root
    except pydantic.ValidationError as error:
        raise Malformed(source, mistakes(error)) from None
    except ValueError as error:
        raise Malformed(source, str(error)) from None


@functools.cache
def checked(form):
    """Model whose `root` is of a type, the dataclasses within it included."""
    import pydantic

    class Document(pydantic.RootModel[form]):
        model_config = pydantic.ConfigDict(strict=True, allow_inf_nan=False)

    return Document


def mistakes(error):
    """The first few mistakes that a `pydantic.ValidationError` holds, in one short line."""
    count = error.error_count()
    if count > 1000:  # each would be made an object
        return f"{count} mistakes"
    first = error.errors(include_url=False, include_context=False)[:TOLD]
    return "; ".join(map(mistake, first)) + (f"; {count - TOLD} more" if count > TOLD else "")


def mistake(entry):
    """One of them: where it is, what is expected there, and what was received."""
    place = ".".join(map(str, entry["loc"]))
    place = place if place.isprintable() else ascii(place)
    place = place if len(place) <= LONGEST else place[:LONGEST] + "..."
    text = entry["msg"][:1].lower() + entry["msg"][1:]
    received = "" if entry["type"] == "missing" else f", not {reprlib.repr(entry['input'])}"
    return f"{place}: {text}{received}" if place else f"{text}{received}"
