//! Where a redirect leads, if that is the same real server.

use hyper::Uri;

/// The path and query that `location` leads to from `path`, if that is at the same place: one with the scheme
/// `scheme` and the authority `authority`, host and port as in the Host header (RFC 3986, section 5.2).
pub(super) fn target(location: &str, path: &str, scheme: &str, authority: &str) -> Option<String> {
    let location = location.split('#').next()?.trim();
    let (path_before_query, _) = path.split_once('?').unwrap_or((path, ""));
    if let Some(rest) = location.strip_prefix("//") {
        return absolute(&format!("{scheme}://{rest}"), scheme, authority);
    }
    if location.starts_with('/') {
        return Some(without_dots(location));
    }
    if location.starts_with('?') {
        return Some(format!("{path_before_query}{location}"));
    }
    if location.is_empty() {
        return Some(path.to_owned());
    }
    // A colon before any slash ends a scheme (RFC 3986, section 4.2).
    if location.split(['/', '?']).next().is_some_and(|first| first.contains(':')) {
        return absolute(location, scheme, authority);
    }
    let (folder, _) = path_before_query.rsplit_once('/')?;
    Some(without_dots(&format!("{folder}/{location}")))
}

fn absolute(location: &str, scheme: &str, authority: &str) -> Option<String> {
    let uri: Uri = location.parse().ok()?;
    let is_same = uri.scheme_str()?.eq_ignore_ascii_case(scheme)
        && place(uri.authority()?.as_str(), scheme) == place(authority, scheme);
    is_same.then(|| uri.path_and_query().map_or_else(|| "/".to_owned(), |path| without_dots(path.as_str())))
}

/// Host in lower case, and port.
fn place(authority: &str, scheme: &str) -> (String, String) {
    let default = if scheme == "https" { "443" } else { "80" };
    let (host, port) = split_port(authority);
    (host.to_ascii_lowercase(), port.filter(|port| !port.is_empty()).unwrap_or(default).to_owned())
}

/// Host and port of an authority. IPv6 addresses are in brackets, as they have to be there.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') && (host.ends_with(']') || !host.contains(':')) => {
            (host, Some(port))
        }
        _ => (authority, None),
    }
}

/// RFC 3986, section 5.2.4.
fn without_dots(location: &str) -> String {
    let (path, query) =
        location.split_once('?').map_or((location, None), |(path, query)| (path, Some(query)));
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    let path = format!("/{}", kept.join("/"));
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved_against_the_path() {
        for (location, expected) in [
            ("/new", "/new"),
            ("new", "/a/new"),
            ("../new?x=1/../y", "/new?x=1/../y"),
            ("./", "/a/"),
            ("..", "/"),
            ("/../../etc", "/etc"),
            ("?y=2", "/a/b?y=2"),
            ("", "/a/b?x=1"),
            ("#top", "/a/b?x=1"),
            ("x/y:z", "/a/x/y:z"),
            ("http://www.example.com/new#top", "/new"),
            ("http://WWW.example.com:80", "/"),
            ("HTTP://www.example.com?q", "/?q"),
            ("//www.example.com/new", "/new"),
        ] {
            let found = target(location, "/a/b?x=1", "http", "www.example.com");
            assert_eq!(found.as_deref(), Some(expected), "{location}");
        }
    }

    #[test]
    fn redirects_to_another_place_are_not_followed() {
        for location in [
            "https://www.example.com/",
            "http://example.com/",
            "http://www.example.com:8080/",
            "//evil.example/",
            "http://user@www.example.com/",
            "ftp://www.example.com/",
            "mailto:root@example.com",
            "http://[::1",
        ] {
            assert_eq!(target(location, "/", "http", "www.example.com"), None, "{location}");
        }
        assert_eq!(
            target("https://[2001:DB8::1]:443/x", "/", "https", "[2001:db8::1]").as_deref(),
            Some("/x")
        );
        assert_eq!(target("http://192.0.2.1/x", "/", "http", "192.0.2.1:8080"), None);
        assert_eq!(target("http://192.0.2.1:8080/x", "/", "http", "192.0.2.1:8080").as_deref(), Some("/x"));
    }
}
