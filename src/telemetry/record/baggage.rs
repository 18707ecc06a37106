//! `baggage` on the wire (W3C Baggage): user-defined pairs that travel with a trace.
//!
//! In: header values as the caller sent them. Out: the bytes that go downstream: the well-formed members, in order, within the
//! limits of the specification. Not here: what the pairs mean, and whether to trust the caller (the listener's policy says).

/// The specification's limits (section 3.3.2): at least 64 members and 8192 bytes are passed on.
pub(crate) const BAGGAGE_BYTES_MAX: usize = 8192;
const BAGGAGE_MEMBERS_MAX: usize = 180;

/// Appends the valid members of all values to `out`. Malformed ones and those past a limit are left out.
pub(crate) fn join<'v>(values: impl Iterator<Item = &'v [u8]>, out: &mut Vec<u8>) {
    let start = out.len();
    let mut members = 0;
    for member in values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii) {
        let comma = usize::from(out.len() > start);
        let fits = members < BAGGAGE_MEMBERS_MAX && out.len() - start + comma + member.len() <= BAGGAGE_BYTES_MAX;
        if fits && is_member(member) {
            out.extend_from_slice(&b","[..comma]);
            out.extend_from_slice(member);
            members += 1;
        }
    }
}

/// `key = value *( ; property )` of section 3.3.1, where a key is a token and a value is percent-encoded text.
fn is_member(member: &[u8]) -> bool {
    let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    parts.next().is_some_and(|pair| is_pair(pair, true)) && parts.all(|property| is_pair(property, false))
}

fn is_pair(pair: &[u8], value_needed: bool) -> bool {
    match pair.iter().position(|byte| *byte == b'=') {
        None => !value_needed && is_token(pair),
        Some(at) => is_token(pair[..at].trim_ascii()) && pair[at + 1..].trim_ascii().iter().all(is_value_byte),
    }
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// `baggage-octet`: visible ASCII but `"`, `,`, `;` and `\`.
fn is_value_byte(byte: &u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined(values: &[&str]) -> String {
        let mut out = Vec::new();
        join(values.iter().map(|value| value.as_bytes()), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn well_formed_members_pass_and_others_do_not() {
        assert_eq!(joined(&["a=1;p;q=2 , b = %20x", "c="]), "a=1;p;q=2,b = %20x,c=");
        assert_eq!(joined(&["novalue,a b=1,x=a b,y=\"q\",ok=1"]), "ok=1");
    }

    #[test]
    fn baggage_past_its_limits_is_left_out() {
        let many = (0..300).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(joined(&[&many]).split(',').count(), BAGGAGE_MEMBERS_MAX);
        let long = format!("a={},b=1", "x".repeat(BAGGAGE_BYTES_MAX));
        assert_eq!(joined(&[&long]), "b=1");
    }

    proptest! {
        #[test]
        fn what_is_passed_on_passes_again(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut once, mut twice) = (Vec::new(), Vec::new());
            join([&bytes[..]].into_iter(), &mut once);
            join([&once[..]].into_iter(), &mut twice);
            prop_assert_eq!(once, twice);
        }
    }
}
