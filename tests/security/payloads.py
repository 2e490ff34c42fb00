"""What people have tried: words that become commands, templates, documents or options somewhere on their way."""

from __future__ import annotations

from itertools import product

CANARY = "GREENCTL_CANARY"
"""Whoever runs one of these touches the file that this variable names."""

COMMAND = f'touch "${CANARY}"'

WRAPPERS = (
    "; {c}",
    "&& {c}",
    "|| {c}",
    "| {c}",
    "& {c} &",
    "\n{c}\n",
    "\r\n{c}\r\n",
    "$({c})",
    "`{c}`",
    "'; {c}; '",
    '"; {c}; "',
    "' $({c}) '",
    '" $({c}) "',
    "'`{c}`'",
    "\\'; {c} #",
    '\\"; {c} #',
    "\nEOF\n{c}\n",
    "\nEOF_CHECK\n{c}\n",
    "<<EOF\n$({c})\nEOF",
    "<({c})",
    ">({c})",
    "${{IFS}}$({c})",
    "${{x:-$({c})}}",
    "$(({c}))",
    "{{a,$({c})}}",
    "\u2028{c}\u2028",
    "\x85{c}\x85",
    "\x0b{c}\x0b",
    "\x00{c}",
    "\x1b]0;{c}\x07",
    "\x1b[2J{c}",
    "%0a{c}",
    "\\n{c}",
    "#\n{c}",
    "*/ {c} /*",
    "]] ; {c} ; [[",
    ") ; {c} ; (",
    "}} ; {c} ; {{",
)
PREFIXES = ("", "x", "org/model", "a b", "-", "--config=", "../../")

TEMPLATES = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}",
    "${jndi:ldap://localhost/x}",
    "${7*7}",
    "#{7*7}",
    "<%= 7*7 %>",
    "{0.__class__}",
    "%(x)s",
    'f\'{__import__("os").system("id")}\'',
    "!!python/object/apply:os.system ['id']",
    "!!python/name:os.system",
    "&a [*a]",
    "*anchor",
    "!include /etc/passwd",
    "? - x",
    "| literal",
    "@ENGINE@",
    "@HERE@/model",
    "--host=@ADDRESS@",
)
OPTIONS = (
    "--trust-remote-code",
    "--api-key=stolen",
    "--middleware=os.system",
    "--host=0.0.0.0",
    "-c",
    "--",
    "-",
    "--config /etc/passwd",
    "@/etc/passwd",
    "../../../../etc/passwd",
    "/etc/passwd",
    "~/.ssh/id_rsa",
    "$HOME/.greenctl/key",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "LD_PRELOAD=/tmp/x.so",
    "PYTHONPATH=/tmp",
    "BASH_ENV=/tmp/x",
    "\u202egnp.exe",
    "a" * 5000,
    "\uff41\uff44\uff4d\uff49\uff4e",
    "",
    " ",
    ".",
    "..",
)

PAYLOADS = (
    *(prefix + wrapper.format(c=COMMAND) for prefix, wrapper in product(PREFIXES, WRAPPERS)),
    *TEMPLATES,
    *OPTIONS,
)
