//! The sections of health checks in words.

use super::{Described, NEEDED, key};

const BASE: &str = "[[virtual_server]]\naddresses = [\"192.168.2.240:80\"]\n[virtual_server.health_check]\ninterval = \"6s\"\ntcp = {}\n[[virtual_server.real_server]]\naddress = \"192.168.2.212\"\n";

/// A check by another probe than tcp.
macro_rules! base {
    ($probe:literal, $keys:literal) => {
        concat!(
            "[[virtual_server]]\naddresses = [\"192.168.2.240:80\"]\n[virtual_server.health_check]\ninterval = \"6s\"\n[virtual_server.health_check.",
            $probe,
            "]\n",
            $keys,
            "[[virtual_server.real_server]]\naddress = \"192.168.2.212\"\n"
        )
    };
}

const PORT: &str = "the virtual server's, if it has only one; else the probe's usual one";

pub(super) const SECTIONS: [&Described; 10] =
    [&CHECK, &FLAP, &ICMP, &TCP, &UDP, &HTTP, &TLS, &DNS, &SMTP, &EXEC];

const CHECK: Described = Described {
    header: "[virtual_server.health_check]",
    is: "How real servers are checked ([in full, with keepalived's names](health-checks.md)). A real server's own `[virtual_server.real_server.health_check]` has the same keys and sections, and what it does not write is as here.",
    base: BASE,
    keys: &[
        key("enabled", "boolean", "`true`", "false", "whether anything is checked"),
        key("interval", "time, `10ms` to `1day`", "`\"60s\"`", r#""2s""#, "from one probe to the next"),
        key(
            "timeout",
            "time, at most `interval`",
            "`\"5s\"`, or `interval` if that is shorter; with `exec`, `interval`",
            r#""3s""#,
            "how long a probe may take in all",
        ),
        key(
            "connect_timeout",
            "time, at most `timeout`",
            "`\"5s\"`, or `timeout` if that is shorter",
            r#""1s""#,
            "how long it may take to connect",
        ),
        key(
            "retries",
            "number",
            "1; with `dns` 3, with `exec` 0",
            "3",
            "how many more probes have to fail after the first",
        ),
        key(
            "retry_delay",
            "time",
            "`\"1s\"`; with `http` `\"3s\"`, with `dns` `interval`",
            r#""500ms""#,
            "from a probe that failed to the next",
        ),
        key("rise", "number", "`1`", "2", "how many probes in a row have to succeed until it is up again"),
        key(
            "target",
            "`real_server`, `vip`",
            "`\"real_server\"`",
            r#""vip""#,
            "`vip`: the probe goes to the VIP at the real server's MAC, as clients' packets do",
        ),
        key(
            "flap",
            "table",
            "none",
            "{ changes = 5 }",
            "what becomes of a real server that goes up and down: below",
        ),
        key("bind", "address", "the kernel's choice", r#""192.168.2.210""#, "where probes are sent from"),
        key("icmp", "table", "exactly one of the seven probes", "{}", "does it answer echo requests?"),
        key("tcp", "table", "", "{ port = 80 }", "does it accept connections?"),
        key("udp", "table", "", "{ port = 53 }", "does it take a datagram?"),
        key("http", "table", "", r#"{ path = "/healthz" }"#, "what does a web server answer?"),
        key(
            "dns",
            "table",
            "",
            r#"{ name = "example.net", type = "A" }"#,
            "does a name server resolve a name?",
        ),
        key("smtp", "table", "", "{ port = 25 }", "does a mail server greet?"),
        key("exec", "table", "", r#"{ command = ["/etc/lb/check.sh"] }"#, "what does a program say?"),
    ],
};

const FLAP: Described = Described {
    header: "[virtual_server.health_check.flap]",
    is: "A real server that goes up and down all the time is held down.",
    base: BASE,
    keys: &[
        key("changes", "number", "`5`", "3", "a real server that changes more often than this ..."),
        key("within", "time", "`\"60s\"`", r#""30s""#, "... in this time, is down ..."),
        key("hold", "time", "`\"120s\"`", r#""5m""#, "... for this time"),
    ],
};

const ICMP: Described = Described {
    header: "[virtual_server.health_check.icmp]",
    is: "Whether the host answers echo requests. It has no keys: `icmp = {}`.",
    base: BASE,
    keys: &[],
};

const TCP: Described = Described {
    header: "[virtual_server.health_check.tcp]",
    is: "Whether it accepts connections.",
    base: base!("tcp", ""),
    keys: &[key("port", "number, 1 to 65535", PORT, "8080", "the port that is asked")],
};

const UDP: Described = Described {
    header: "[virtual_server.health_check.udp]",
    is: "Whether it takes a datagram.",
    base: base!("udp", "port = 1812\n"),
    keys: &[
        key("port", "number, 1 to 65535", PORT, "1812", "the port that is asked"),
        key("payload", "text", "empty", r#""ping\r\n""#, "what is sent"),
        key(
            "payload_hex",
            "hexadecimal digits",
            "empty",
            r#""0c 01 00 14""#,
            "the same, for what is no text; at most 1232 bytes",
        ),
        key(
            "require_reply",
            "boolean",
            "`false`; with `reply_regex` `true`",
            "true",
            "whether it has to answer",
        ),
        key("reply_regex", "regular expression", "none", r#"'^pong'"#, "what the answer has to match"),
    ],
};

const HTTP: Described = Described {
    header: "[virtual_server.health_check.http]",
    is: "What a web server answers.",
    base: base!("http", ""),
    keys: &[
        key(
            "port",
            "number, 1 to 65535",
            PORT,
            "8080",
            "the port that is asked: usually 80, or 443 with TLS",
        ),
        key("method", "word", "`\"GET\"`", r#""HEAD""#, "the method"),
        key("path", "text", "`\"/\"`", r#""/healthz?deep=1""#, "path and query"),
        key("host", "name", "the address", r#""example.net""#, "the Host header"),
        key(
            "status",
            "list of codes and ranges",
            "`[\"200-299\"]`",
            r#"["200-299", 304]"#,
            "which answers are good",
        ),
        key(
            "body_regex",
            "regular expression",
            "none",
            r#"'ok|ready'"#,
            "something in the body has to match",
        ),
        key(
            "body_sha256",
            "64 hexadecimal digits",
            "none",
            r#""e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855""#,
            "the body has this SHA-256 digest",
        ),
        key(
            "body_limit",
            "number of bytes, up to 16777216",
            "`65536`",
            "1048576",
            "how much of the body is read",
        ),
        key(
            "redirects",
            "number, up to 10",
            "`0`",
            "3",
            "how many redirects to the same real server are followed",
        ),
        key(
            "agent",
            "boolean",
            "`false`",
            "true",
            "the body says what weight the real server wants, as HAProxy's agent-check does",
        ),
        key("tls", "table", "none", "{ verify = false }", "TLS is spoken if it is there: below"),
    ],
};

const TLS: Described = Described {
    header: "[virtual_server.health_check.http.tls]",
    is: "TLS of the `http` probe; `tls = {}` is enough.",
    base: base!("http", ""),
    keys: &[
        key("enabled", "boolean", "`true`", "false", "with `false`, as if there were no `tls`"),
        key("verify", "boolean", "`true`", "false", "whether the certificate has to be valid"),
        key(
            "server_name",
            "name",
            "`host`, else the address",
            r#""example.net""#,
            "the name in SNI, and in the certificate",
        ),
        key(
            "ca_file",
            "absolute path",
            "the system's",
            r#""/etc/lb/ca.pem""#,
            "certificates that sign the server's, in PEM",
        ),
    ],
};

const DNS: Described = Described {
    header: "[virtual_server.health_check.dns]",
    is: "Whether a name server resolves a name.",
    base: base!("dns", ""),
    keys: &[
        key("port", "number, 1 to 65535", PORT, "53", "the port that is asked: usually 53"),
        key("name", "name", "`\".\"`", r#""example.net""#, "the name that is asked for"),
        key(
            "type",
            "`A`, `AAAA`, `CNAME`, `MX`, `NS`, `SOA`, `TXT`",
            "`\"SOA\"`",
            r#""A""#,
            "the type of record",
        ),
        key("tcp", "boolean", "`false`", "true", "whether it is asked over TCP"),
    ],
};

const SMTP: Described = Described {
    header: "[virtual_server.health_check.smtp]",
    is: "Whether a mail server greets.",
    base: base!("smtp", ""),
    keys: &[
        key("port", "number, 1 to 65535", PORT, "587", "the port that is asked: usually 25"),
        key("helo_name", "name", "the host's name", r#""lb.example.net""#, "what is said after HELO"),
    ],
};

const EXEC: Described = Described {
    header: "[virtual_server.health_check.exec]",
    is: "What a program says: exit code 0 is good.",
    base: base!("exec", "command = [\"/etc/lb/check.sh\"]\n"),
    keys: &[
        key("command", "command", NEEDED, r#"["/etc/lb/check.sh", "--deep"]"#, "the program"),
        key(
            "dynamic",
            "boolean",
            "`false`",
            "true",
            "codes from 2 to 255 are good too, and the weight is to be the code less 2",
        ),
    ],
};
