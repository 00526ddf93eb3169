"""What a served model is refused for."""

import pytest

from hou_synth.serving import errors


def refusal(call, *content, **options):
    """The message of the `Unserved` that a call raises; it is one line."""
    with pytest.raises(errors.Unserved) as error:
        call(*content, **options)
    assert "\n" not in str(error.value)
    return str(error.value)
