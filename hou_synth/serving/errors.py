"""What can go wrong with a served model, told in one line each."""

import re

LONGEST = 200  # characters of a server's own text that are shown; ours
_PLACES = re.compile(r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op:\w+\]|\(defined at .*?\)")  # where in the graph, says TensorFlow
_OWN = re.compile(r"Expected .*?Received: .*?\.(?=[\]\s]|$)")  # the message of a model of ours
_NAMED = re.compile(r"Expected_[\w-]+")  # the same as the name of one of its operations, where it cannot say more


class Unserved(ValueError):
    """A server that does not give what is expected of it."""


class Missing(Unserved):
    """The server knows no such model or version; the message is the server's own text."""


class Passing(Unserved):
    """A failure that another attempt may not meet.

    Attributes:
        wait: least seconds until then, as the server asks for.
    """

    def __init__(self, message, wait=0.0):
        """Keeps the message and the seconds."""
        super().__init__(message)
        self.wait = wait


def own(text):
    """The message that a model of ours gives in a server's text, or None."""
    line = " ".join(str(text).split())
    said, named = _OWN.search(line), _NAMED.search(line)
    if said:
        return said.group()
    return named and f"{named.group().replace('_', ' ')}. Received: {reason(_NAMED.sub('', line))}"


def short(text):
    """One short line out of a server's text."""
    line = " ".join(str(text).split())
    return line if len(line) <= LONGEST else line[:LONGEST].rstrip() + "..."


def reason(text):
    """The same without the places in TensorFlow's graph."""
    return short(_PLACES.sub(" ", str(text)))


def tls(text):
    """What is wrong with an encrypted connection."""
    known = re.search(r"\[SSL[^\]]*\] ([\w :-]+)", str(text))
    return known[1].strip() if known else reason(text)


def down(server, cause):
    """The server cannot be reached, or breaks the connection."""
    return Passing(f"Expected TensorFlow Serving at {server}. Received: {cause}.")


def foreign(server, what):
    """Something answers, but not TensorFlow Serving."""
    return Unserved(f"Expected TensorFlow Serving at {server}. Received: {what}.")


def busy(server, text, wait=0.0):
    """The server is overloaded, out of memory or just starting."""
    return Passing(f"Expected {server} to be ready for a request. Received: {text}.", wait)


def slow(server, timeout, text="no answer"):
    """The time for one request is over."""
    return Passing(
        f"Expected an answer of {server} within {timeout:g} s; a longer --timeout or a lower --parallel may help. "
        f"Received: {text}."
    )


def large(server, text):
    """A request is larger than the server, or a proxy before it, takes."""
    return Unserved(
        f"Expected {server} to take a request of this size; raise its limit, or that of a proxy before it, or send "
        f"smaller windows or batches. Received: {text}."
    )


def endless(server, largest):
    """An answer is far larger than what is asked for."""
    return Unserved(f"Expected an answer of {server} of at most {largest} bytes. Received: a longer one.")


def refused(server, code, text):
    """Any other error; those of a model of ours say themselves what is expected."""
    if own(text):
        return Unserved(f"{own(text)} ({server} refused it)")
    if "padding is turned off" in text:  # of batching: images of other sizes came at the same time
        return busy(server, reason(text))
    if "larger than" in text or "exceeds max" in text:  # of batching: "Task size 8 is larger than maximum ..."
        return large(server, reason(text))
    return Unserved(f"Expected an answer of {server}. Received: error {code}, {reason(text)}")
