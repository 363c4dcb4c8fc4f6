"""Messages of errors: one line, whatever a name from elsewhere holds."""

import pytest

from export.errors import ExportFailed
from pipeline.errors import UserError


@pytest.mark.parametrize("kind", [UserError, ExportFailed])
def test_a_name_with_an_escape_code_reaches_no_terminal_raw(kind):
    assert str(kind("tensor \x1b[31mnorm\nweight\udce9 of Käfer 犬")) == (
        r"tensor \x1b[31mnorm\nweight\udce9 of Käfer 犬"
    )
