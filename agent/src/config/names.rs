//! What may stand where a name or an address is asked for.

/// Names are shown in tables, labels and file names; longer ones are refused.
pub const NAME_BYTES: usize = 63;

/// Refuses what isn't a name of a node, cluster, workload or channel, with a sentence that follows the value.
pub fn check_name(name: &str) -> Result<(), String> {
    let quoted = format!("\"{}\" can't be a name", name.escape_debug());
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() {
        return Err("a name can't be empty".into());
    }
    if name.len() > NAME_BYTES {
        return Err(format!("{quoted}: it is longer than {NAME_BYTES} characters; shorten it"));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(good) {
        return Err(format!(
            "{quoted}; use letters, digits, \"-\", \"_\" and \".\", a letter or digit first"
        ));
    }
    Ok(())
}

/// Node names, besides: one that reads like an id couldn't be told from it.
pub fn check_node_name(name: &str) -> Result<(), String> {
    check_name(name)?;
    if name.parse::<cluster_core::ids::NodeId>().is_ok() {
        return Err(format!(
            "\"{name}\" looks like a node's id; choose a name that isn't 16 hexadecimal digits"
        ));
    }
    Ok(())
}

/// Refuses what can't be dialled: a host (name, IPv4, or IPv6 in brackets), a colon and a port.
pub fn check_address(address: &str) -> Result<(), String> {
    let wrong = |why: &str| format!("\"{}\" {why}; write it as HOST:PORT", address.escape_debug());
    let Some((host, port)) = address.rsplit_once(':') else { return Err(wrong("has no port")) };
    match port.parse::<u16>() {
        Ok(0) => return Err(wrong("has port 0, which nobody can reach")),
        Ok(_) if port.bytes().all(|b| b.is_ascii_digit()) => {}
        _ => return Err(wrong("has no port number after its last colon")),
    }
    let in_brackets = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let good = match in_brackets {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        }
    };
    match good {
        true => Ok(()),
        false if host.contains(':') => Err(wrong("needs its IPv6 address in brackets, like [::1]:7400")),
        false => Err(wrong("has no usable host")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_plain() {
        for good in ["web-1", "db.example", "a_b", "7"] {
            assert_eq!(check_name(good), Ok(()));
        }
        for wrong in ["", "-a", "a b", "ä", "a/b", "a\n", &"x".repeat(64)] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
        assert!(check_node_name("00abcdef01234567").unwrap_err().contains("id"));
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for good in ["10.0.0.1:7400", "web-2.example:7400", "[::1]:7400"] {
            assert_eq!(check_address(good), Ok(()));
        }
        for (wrong, why) in [
            ("web-1", "has no port"),
            ("web-1:", "no port number"),
            ("web-1:0", "port 0"),
            ("web-1:+80", "no port number"),
            (":7400", "no usable host"),
            ("::1:7400", "brackets"),
            ("a b:1", "no usable host"),
            ("http://a:1", "brackets"),
        ] {
            assert!(check_address(wrong).unwrap_err().contains(why), "{wrong}");
        }
    }
}
