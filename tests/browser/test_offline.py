"""The editor on a server that keeps the page offline: its security policy, and one that is stricter still."""

from __future__ import annotations

import json

import pytest

# Nothing from elsewhere, and no code or style in the markup. ComfyUI's own page needs more, so this one is
# only reported on, and what is ours is looked at.
STRICT = "default-src 'self'; img-src 'self' data: blob:; connect-src 'self' ws:"
WATCH = """
window.violations = [];
document.addEventListener('securitypolicyviolation', (event) => window.violations.push({
  blocked: event.blockedURI, directive: event.effectiveDirective, source: event.sourceFile,
  line: event.lineNumber, disposition: event.disposition, sample: event.sample,
}));
"""


@pytest.fixture
def watched(other_page):
    """An editor whose page notes what either policy objects to."""
    page = other_page(vue=False, init=WATCH)
    served = []

    def serve(route):
        answer = route.fetch()
        served.append(answer.headers.get("content-security-policy", ""))
        headers = {**answer.headers, "content-security-policy-report-only": STRICT}
        route.fulfill(response=answer, headers=headers)

    page.page.route(f"{page.address}/", serve)
    page.open()
    page.add_node()
    return page, served


def test_nothing_of_the_editor_is_blocked_or_would_be(watched):
    """Drawing, lists, popups, import and export, full size."""
    editor, served = watched
    assert any("default-src 'self'" in policy for policy in served), "the server sends no policy"
    editor.draw((0.1, 0.1, 0.45, 0.6), "a red fox")
    editor.draw((0.5, 0.2, 0.9, 0.9), "a blue cup")
    for name in ("Copy, paste, files", "Keys and gestures", "Templates", "Large editor"):
        editor.button(name).first.click()
        editor.settle()
        editor.press("Escape")
    editor.page.wait_for_timeout(300)
    seen = editor.page.evaluate("() => window.violations")
    assert any(one["disposition"] == "report" for one in seen), "the stricter policy was not watched"
    ours = [one for one in seen if "Instance-Composer" in (one["source"] or "")]
    assert ours == [], json.dumps(ours, indent=1)
    assert editor.problems == []
