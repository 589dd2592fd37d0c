//! Proxies that the environment names, as OpenTelemetry's SDKs use them: by the rules of Go's
//! `golang.org/x/net/http/httpproxy`, which the Collector and the Go SDK follow, with `ALL_PROXY` as those of Python
//! have it.

use crate::config::{ConfigError, Protocol};
use crate::environment::Variables;
use base64::Engine as _;
use percent_encoding::percent_decode_str;
use std::fmt;
use std::net::IpAddr;
use tonic::codegen::http::{HeaderValue, Uri};

/// A proxy, and who named it.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    variable: &'static str,
    /// Scheme, host and port; no secret.
    pub(crate) uri: Uri,
    /// `Proxy-Authorization`.
    pub(crate) authorization: Option<HeaderValue>,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (self.uri.scheme_str(), self.uri.authority());
        let authority = authority.map_or("", |authority| authority.as_str());
        write!(f, "the proxy {}://{authority} ({})", scheme.unwrap_or_default(), self.variable)
    }
}

/// Finds the proxy for `destination`, if it is not to be reached directly.
pub(crate) fn of(
    destination: &Uri,
    protocol: Protocol,
    variables: &Variables<'_>,
) -> Result<Option<Proxy>, ConfigError> {
    const HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
    const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
    const ALL: [&str; 2] = ["ALL_PROXY", "all_proxy"];
    let is_secure = destination.scheme_str() == Some("https");
    // gRPC is tunnelled, with TLS or without, which is what proxies for HTTPS do.
    let by_scheme: &[[&str; 2]] = match (protocol, is_secure) {
        (_, true) => &[HTTPS],
        (Protocol::Grpc, false) => &[HTTPS, HTTP],
        (Protocol::HttpProtobuf, false) => &[HTTP],
    };
    let value = |name| Some(variables(name)?.trim().to_owned()).filter(|value| !value.is_empty());
    let found = by_scheme.iter().chain([&ALL]).flatten().find_map(|name| Some((*name, value(name)?)));
    let Some((variable, address)) = found else { return Ok(None) };
    let host = destination.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = destination.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let exceptions = ["NO_PROXY", "no_proxy"].into_iter().find_map(value).unwrap_or_default();
    if is_direct(host, port, &exceptions) {
        return Ok(None);
    }
    // The value may hold a password, so it is not shown.
    parse(variable, &address).map(Some).ok_or(ConfigError::Proxy { variable, host: host.to_owned() })
}

/// Reads `[http://][user[:password]@]host[:port][/]`.
fn parse(variable: &'static str, address: &str) -> Option<Proxy> {
    let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return None;
    }
    let (user, host) = match rest.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, rest),
    };
    let host = host.split('/').next().unwrap_or_default();
    let uri = Uri::builder().scheme(scheme.as_str()).authority(host).path_and_query("/").build().ok()?;
    uri.host().filter(|host| !host.is_empty())?;
    let authorization = match user {
        Some(user) => Some(basic(user)?),
        None => None,
    };
    Some(Proxy { variable, uri, authorization })
}

/// RFC 7617.
fn basic(user: &str) -> Option<HeaderValue> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let decoded = |text| percent_decode_str(text).collect::<Vec<u8>>();
    let pair = [&decoded(name)[..], b":", &decoded(password)].concat();
    let text = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Judges by the list of `NO_PROXY`: `*`, domains (with what is below them), `.domain` (what is below it), addresses,
/// networks (`10.0.0.0/8`); each but a network with `:port` or without. This machine is never reached by a proxy.
pub(crate) fn is_direct(host: &str, port: u16, exceptions: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    let mut entries =
        exceptions.split(|it: char| it == ',' || it.is_whitespace()).filter(|it| !it.is_empty());
    entries.any(|entry| is_exception(&entry.to_ascii_lowercase(), &host, address, port))
}

fn is_exception(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if let Some((network, bits)) = entry.split_once('/') {
        let network = network.trim_matches(['[', ']']).parse();
        return matches!((network, bits.parse(), address), (Ok(network), Ok(bits), Some(address)) if is_in(address, network, bits));
    }
    let (name, wanted) = match entry.rsplit_once(':') {
        // An address of version 6 without a port has colons, too.
        Some((name, number)) if entry.parse::<IpAddr>().is_err() => match number.parse::<u16>() {
            Ok(number) => (name, Some(number)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    };
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    let name = name.trim_matches(['[', ']']);
    if let Ok(named) = name.parse::<IpAddr>() {
        return address == Some(named.to_canonical());
    }
    let below =
        |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'));
    match name.strip_prefix("*.").or_else(|| name.strip_prefix('.')).map(|it| it.trim_end_matches('.')) {
        Some(domain) => !domain.is_empty() && below(domain),
        None if name == "*" => true,
        None => {
            let name = name.trim_end_matches('.');
            !name.is_empty() && (host == name || address.is_none() && below(name))
        }
    }
}

fn is_in(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let ((address, width), (network, network_width)) = (number(address), number(network));
    let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
    width == network_width && bits <= width && address & mask == network & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(
        destination: &str,
        protocol: Protocol,
        variables: &[(&str, &str)],
    ) -> Result<Option<Proxy>, ConfigError> {
        let look = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        of(&destination.parse().unwrap(), protocol, &look)
    }

    /// Host and port of the proxy.
    fn chosen(destination: &str, protocol: Protocol, variables: &[(&str, &str)]) -> String {
        found(destination, protocol, variables).unwrap().map_or("direct".into(), |proxy| proxy.to_string())
    }

    #[test]
    fn the_scheme_and_the_protocol_choose_the_variable() {
        use Protocol::{Grpc, HttpProtobuf as Http};
        let both = [("HTTP_PROXY", "http://plain:3128"), ("HTTPS_PROXY", "secure:3128")];
        let (plain, secure) =
            ("the proxy http://plain:3128 (HTTP_PROXY)", "the proxy http://secure:3128 (HTTPS_PROXY)");
        assert_eq!(chosen("http://c:4318", Http, &both), plain);
        assert_eq!(chosen("https://c:4318", Http, &both), secure);
        assert_eq!(chosen("http://c:4317", Grpc, &both), secure);
        assert_eq!(chosen("https://c:4317", Grpc, &both), secure);
        assert_eq!(chosen("http://c:4317", Grpc, &both[..1]), plain);
        assert_eq!(chosen("https://c:4317", Grpc, &both[..1]), "direct");
        assert_eq!(chosen("http://c:4318", Http, &both[1..]), "direct");
        // The other spelling comes second, one that is empty counts as not set, and any comes before the one for all.
        let lower = [("http_proxy", "low:1"), ("HTTP_PROXY", ""), ("ALL_PROXY", "all:1")];
        assert_eq!(chosen("http://c", Http, &lower), "the proxy http://low:1 (http_proxy)");
        assert_eq!(chosen("https://c", Http, &lower), "the proxy http://all:1 (ALL_PROXY)");
        assert_eq!(
            chosen("https://c", Http, &[("all_proxy", "https://all")]),
            "the proxy https://all (all_proxy)"
        );
        assert_eq!(chosen("https://c", Http, &[]), "direct");
    }

    #[test]
    fn user_and_password_are_sent_and_never_shown() {
        let of = |value| found("http://c", Protocol::HttpProtobuf, &[("HTTP_PROXY", value)]);
        let proxy = of("http://user:p%40ss%3aword@proxy:3128/").unwrap().unwrap();
        assert_eq!(proxy.authorization.as_ref().unwrap(), "Basic dXNlcjpwQHNzOndvcmQ=");
        assert_eq!(proxy.uri, "http://proxy:3128/");
        assert!(!format!("{proxy} {proxy:?}").contains("pass") && !format!("{proxy:?}").contains("dXNl"));
        assert_eq!(of("user@proxy").unwrap().unwrap().authorization.unwrap(), "Basic dXNlcjo=");
        assert!(of("proxy").unwrap().unwrap().authorization.is_none());
        for wrong in ["socks5://user:secret@proxy:1080", "http://", "user:secret@", "http://a b"] {
            let text = of(wrong).unwrap_err().to_string();
            assert!(
                text.contains("HTTP_PROXY") && text.contains("NO_PROXY") && !text.contains("secret"),
                "{text}"
            );
        }
    }

    #[test]
    fn exceptions_are_hosts_domains_addresses_networks_and_ports() {
        for (host, port, exceptions, expected) in [
            ("collector.example", 4317, "*", true),
            ("collector.example", 4317, "", false),
            ("collector.example", 4317, "collector.example", true),
            ("Collector.Example.", 4317, "other, COLLECTOR.example", true),
            ("collector.example", 4317, "example", true),
            ("collector.example", 4317, ".example", true),
            ("collector.example", 4317, "*.example", true),
            ("collector.example", 4317, "example.", true),
            ("example", 4317, ".example", false),
            ("example", 4317, "*.example", false),
            ("notexample", 4317, "example", false),
            ("collector.example", 4317, "ample", false),
            ("collector.example", 4317, "collector.example:4317", true),
            ("collector.example", 4317, "collector.example:443", false),
            ("collector.example", 4317, ".example:4317", true),
            ("collector.example", 4317, "*:4317", true),
            ("collector.example", 4317, "a b collector.example", true),
            ("collector.example", 4317, ",.,*.,:,/,10.0.0.0/x", false),
            ("10.1.2.3", 4317, "10.0.0.0/8", true),
            ("11.1.2.3", 4317, "10.0.0.0/8", false),
            ("10.1.2.3", 4317, "0.0.0.0/0", true),
            ("10.1.2.3", 4317, "10.1.2.3/33", false),
            ("10.1.2.3", 4317, "10.1.2.3", true),
            ("10.1.2.3", 4317, "10.1.2.3:4317", true),
            ("10.1.2.3", 4317, "10.1.2.3:4318", false),
            ("10.1.2.3", 4317, "2.3", false),
            ("fd00::1", 4317, "fd00::/8", true),
            ("fd00::1", 4317, "fd00:0::1", true),
            ("fd00::1", 4317, "[fd00::1]", true),
            ("fd00::1", 4317, "[fd00::1]:4317", true),
            ("fd00::1", 4317, "[fd00::1]:1", false),
            ("::ffff:10.1.2.3", 4317, "10.0.0.0/8", true),
            ("10.1.2.3", 4317, "::/0", false),
            ("localhost", 4317, "", true),
            ("127.9.9.9", 4317, "", true),
            ("::1", 4317, "", true),
        ] {
            assert_eq!(is_direct(host, port, exceptions), expected, "{host}:{port} and `{exceptions}`");
        }
    }
}
