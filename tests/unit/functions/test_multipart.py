from __future__ import annotations

import contextlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from urllib3.filepost import encode_multipart_formdata

from detect.multipart import Part, read_parts
from shared.errors import RequestError

CONTENTS = st.binary(max_size=300) | st.lists(
    st.sampled_from([b"\r\n", b"--", b"bound", b"\n", b"a"]), max_size=12
).map(b"".join)


@given(st.lists(st.tuples(st.sampled_from(["image", "model", "ä b"]), CONTENTS), max_size=4))
def test_a_form_comes_apart_as_it_was_put_together(fields: list[tuple[str, bytes]]) -> None:
    boundary = "bound"
    assume(not any(b"\r\n--bound" in b"\r\n" + content for _, content in fields))
    body, content_type = encode_multipart_formdata(fields, boundary)
    assert read_parts(body, content_type) == [Part(name, content) for name, content in fields]


@given(st.sampled_from(["a.jpg", "a; name=x.jpg", "name=x", "; name=x;", "ä.jpg", ""]), CONTENTS)
def test_a_file_s_name_is_not_taken_for_its_field_s(filename: str, content: bytes) -> None:
    assume(b"--bound" not in content)
    disposition = f'Content-Disposition: form-data; filename="{filename}"; name="image"'.encode()
    body = b"--bound\r\n" + disposition + b"\r\n\r\n" + content + b"\r\n--bound--\r\n"
    assert read_parts(body, "multipart/form-data; boundary=bound") == [Part("image", content)]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_form_or_a_request_error(body: bytes) -> None:
    with contextlib.suppress(RequestError):
        read_parts(b"--b" + body, 'multipart/form-data; boundary="b"')


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"--b--", "multipart/form-data"),
        (b"nothing", "multipart/form-data; boundary=b"),
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx', "multipart/form-data; boundary=b"),
        (b"--b\r\n\r\nx\r\n--b--", "multipart/form-data; boundary=b"),
        (b"--b\r\nX: y\r\n\r\nx\r\n--b--", "multipart/form-data; boundary=b"),
    ],
)
def test_what_is_no_form_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(RequestError):
        read_parts(body, content_type)


def test_a_form_of_many_parts_is_refused() -> None:
    body, content_type = encode_multipart_formdata([(f"field{n}", b"") for n in range(40)])
    with pytest.raises(RequestError):
        read_parts(body, content_type)
