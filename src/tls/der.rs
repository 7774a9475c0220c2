//! As much DER (ITU-T X.690) as a client needs of a certificate beyond what webpki tells.
//!
//! Nothing is trusted because of it: bytes that are not a certificate give `None`, and each length
//! is checked against what there is.

const INTEGER: u8 = 0x02;
const BOOLEAN: u8 = 0x01;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]` in TBSCertificate is its version, and in RSASSA-PSS-params the hash.
const CONTEXT_0: u8 = 0xa0;
/// `[3]` in TBSCertificate: the extensions.
const CONTEXT_3: u8 = 0xa3;
/// GeneralName: a DNS name, and an IP address.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// 2.5.4.3 and 2.5.4.10.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.29.15, 2.5.29.19 and 2.5.29.30
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
/// 1.2.840.113549.1.1
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// 1.2.840.10045.4
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
/// 2.16.840.1.101.3.4.2
const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

/// Splits the first element off: its tag, its content, and the rest.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x83 => {
            let (bytes, behind) = rest.split_at_checked(usize::from(first & 0x7f))?;
            rest = behind;
            bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The content of the first element, which must have this tag, and the rest.
fn expect(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(der)?;
    (tag == wanted).then_some((content, rest))
}

/// The first element with its header, and the rest.
fn whole(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, _, rest) = element(der)?;
    der.split_at_checked(der.len().checked_sub(rest.len())?)
}

/// A certificate's fields, as slices of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Certificate<'a> {
    /// 1, 2 or 3.
    pub(super) version: u8,
    /// What is signed, with its header.
    pub(super) signed: &'a [u8],
    /// The content of the AlgorithmIdentifier of the signature.
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
    /// The content of the issuer's Name.
    pub(super) issuer: &'a [u8],
    pub(super) subject: &'a [u8],
    /// The SubjectPublicKeyInfo with its header.
    pub(super) key_info: &'a [u8],
    validity: (&'a [u8], &'a [u8]),
    extensions: Option<&'a [u8]>,
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let (certificate, _) = expect(der, SEQUENCE)?;
        let (signed, rest) = whole(certificate)?;
        let (algorithm, rest) = expect(rest, SEQUENCE)?;
        let (signature, _) = expect(rest, BIT_STRING)?;
        let signature = signature.strip_prefix(&[0])?;

        let (mut fields, _) = expect(signed, SEQUENCE)?;
        let mut version = 1;
        if let Some((CONTEXT_0, content, rest)) = element(fields) {
            version = expect(content, INTEGER)?.0.first()?.checked_add(1)?;
            fields = rest;
        }
        let (_serial, rest) = expect(fields, INTEGER)?;
        let (inner_algorithm, rest) = expect(rest, SEQUENCE)?;
        // RFC 5280, 4.1.1.2: the two must be the same.
        if inner_algorithm != algorithm {
            return None;
        }
        let (issuer, rest) = expect(rest, SEQUENCE)?;
        let (validity, rest) = expect(rest, SEQUENCE)?;
        let (_, from, behind) = element(validity)?;
        let (_, to, _) = element(behind)?;
        let (subject, rest) = expect(rest, SEQUENCE)?;
        let (key_info, mut rest) = whole(rest)?;
        expect(key_info, SEQUENCE)?;
        let mut extensions = None;
        while let Some((tag, content, behind)) = element(rest) {
            rest = behind;
            if tag == CONTEXT_3 {
                extensions = Some(expect(content, SEQUENCE)?.0);
            }
        }
        let validity = (from, to);
        Some(Self {
            version,
            signed,
            algorithm,
            signature,
            issuer,
            subject,
            key_info,
            validity,
            extensions,
        })
    }

    /// From when to when the certificate is valid, in seconds since 1970. `None` if the dates can't be
    /// read.
    pub(super) fn dates(&self) -> Option<(i64, i64)> {
        Some((seconds(self.validity.0)?, seconds(self.validity.1)?))
    }

    /// The value of an extension, `Some(None)` if there is none, and `None` if the extensions can't
    /// be read.
    #[expect(clippy::option_option, reason = "that there is none is an answer")]
    fn extension(&self, wanted: &[u8]) -> Option<Option<&'a [u8]>> {
        let mut list = self.extensions.unwrap_or_default();
        while !list.is_empty() {
            let (extension, behind) = expect(list, SEQUENCE)?;
            list = behind;
            let (identifier, value) = expect(extension, OBJECT_IDENTIFIER)?;
            if identifier != wanted {
                continue;
            }
            // In front of the value may stand whether the extension is critical.
            let value = match element(value)? {
                (BOOLEAN, _, behind) => behind,
                _ => value,
            };
            return Some(Some(expect(value, OCTET_STRING)?.0));
        }
        Some(None)
    }

    /// Whether the certificate names a host or an address in its subjectAltName. `None` if its
    /// extensions can't be read.
    pub(super) fn has_alternative_name(&self) -> Option<bool> {
        let Some(value) = self.extension(SUBJECT_ALT_NAME)? else { return Some(false) };
        let (mut names, _) = expect(value, SEQUENCE)?;
        while !names.is_empty() {
            let (tag, _, behind) = element(names)?;
            if tag == DNS_NAME || tag == IP_ADDRESS {
                return Some(true);
            }
            names = behind;
        }
        Some(false)
    }

    pub(super) fn has_name_constraints(&self) -> Option<bool> {
        Some(self.extension(NAME_CONSTRAINTS)?.is_some())
    }

    /// Whether the key may sign certificates, as OpenSSL's X509_check_ca says it.
    pub(super) fn may_sign_certificates(&self) -> bool {
        self.signs_certificates().unwrap_or(false)
    }

    fn signs_certificates(&self) -> Option<bool> {
        let usage = self.extension(KEY_USAGE)?;
        if let Some(usage) = usage {
            let (bits, _) = expect(usage, BIT_STRING)?;
            // Bit 5 is keyCertSign. The first byte says how many bits of the last one are unused.
            if bits.get(1).is_none_or(|bits| bits & 0x04 == 0) {
                return Some(false);
            }
        }
        Some(match self.extension(BASIC_CONSTRAINTS)? {
            Some(constraints) => {
                let (constraints, _) = expect(constraints, SEQUENCE)?;
                matches!(element(constraints), Some((BOOLEAN, [is_ca], _)) if *is_ca != 0)
            }
            None => usage.is_some() || (self.version == 1 && self.is_self_issued()),
        })
    }

    /// The last common name of the subject, which is what counts (RFC 2818, 3.1).
    pub(super) fn common_name(&self) -> Option<&'a [u8]> {
        attribute(self.subject, COMMON_NAME)
    }

    /// The issuer's name for messages.
    pub(super) fn issuer_name(&self) -> Option<String> {
        let name =
            attribute(self.issuer, COMMON_NAME).or_else(|| attribute(self.issuer, ORGANIZATION))?;
        let shown: String = String::from_utf8_lossy(name)
            .chars()
            .filter(|letter| !letter.is_control() && !turns_text(*letter))
            .take(100)
            .collect();
        Some(shown)
    }

    /// Whether its issuer has the name of its subject.
    pub(super) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }
}

/// Letters that show nothing and change how others are shown.
fn turns_text(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// When a CertificateList was made, in seconds since 1970.
pub(super) fn this_update(list: &[u8]) -> Option<i64> {
    let (list, _) = expect(list, SEQUENCE)?;
    let (mut fields, _) = expect(list, SEQUENCE)?;
    if let Some((INTEGER, _, behind)) = element(fields) {
        fields = behind;
    }
    let (_algorithm, fields) = expect(fields, SEQUENCE)?;
    let (_issuer, fields) = expect(fields, SEQUENCE)?;
    let (_, time, _) = element(fields)?;
    seconds(time)
}

/// The last value of an attribute in a Name.
fn attribute<'a>(mut name: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let mut found = None;
    while let Some((set, behind)) = expect(name, SET) {
        name = behind;
        let (attribute, _) = expect(set, SEQUENCE)?;
        let (identifier, value) = expect(attribute, OBJECT_IDENTIFIER)?;
        if identifier == wanted {
            found = Some(element(value)?.1);
        }
    }
    found
}

/// The AlgorithmIdentifier of a public key, and the key's bits. `content`: a SubjectPublicKeyInfo
/// without its header, which is the form of a trust anchor's.
pub(super) fn key(content: &[u8]) -> Option<(&[u8], &[u8])> {
    let (algorithm, rest) = expect(content, SEQUENCE)?;
    let (bits, _) = expect(rest, BIT_STRING)?;
    Some((algorithm, bits.strip_prefix(&[0])?))
}

/// The content of a SEQUENCE.
pub(super) fn content(der: &[u8]) -> Option<&[u8]> {
    Some(expect(der, SEQUENCE)?.0)
}

/// The hash of `tls-server-end-point` (RFC 5929, 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// The hash of the certificate's own signature, and SHA-256 in place of MD5 and SHA-1. `None` if
/// the signature has no single hash (Ed25519, Ed448, ML-DSA): no channel can be bound to such a
/// certificate.
pub(super) fn signature_hash(certificate: &[u8]) -> Option<Hash> {
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (_signed, rest) = expect(certificate, SEQUENCE)?;
    let (algorithm, _) = expect(rest, SEQUENCE)?;
    let (identifier, parameters) = expect(algorithm, OBJECT_IDENTIFIER)?;
    match (identifier.strip_prefix(RSA), identifier.strip_prefix(ECDSA)) {
        // With MD5, SHA-1 and SHA-256.
        (Some([4 | 5 | 11]), _) => Some(Hash::Sha256),
        (Some([12]), _) => Some(Hash::Sha384),
        (Some([13]), _) => Some(Hash::Sha512),
        (Some([10]), _) => pss_hash(parameters),
        // With SHA-1, and with the hashes of SHA-2.
        (_, Some([1] | [3, 2])) => Some(Hash::Sha256),
        (_, Some([3, 3])) => Some(Hash::Sha384),
        (_, Some([3, 4])) => Some(Hash::Sha512),
        _ => None,
    }
}

/// RSASSA-PSS-params (RFC 4055, 3.1): the hash is SHA-1 if it is left out.
fn pss_hash(parameters: &[u8]) -> Option<Hash> {
    let (parameters, _) = expect(parameters, SEQUENCE)?;
    let Some((CONTEXT_0, hash, _)) = element(parameters) else { return Some(Hash::Sha256) };
    let (hash, _) = expect(hash, SEQUENCE)?;
    let (identifier, _) = expect(hash, OBJECT_IDENTIFIER)?;
    match identifier.strip_prefix(SHA2) {
        Some([1]) => Some(Hash::Sha256),
        Some([2]) => Some(Hash::Sha384),
        Some([3]) => Some(Hash::Sha512),
        _ => None,
    }
}

/// A UTCTime or GeneralizedTime, in seconds since 1970.
fn seconds(time: &[u8]) -> Option<i64> {
    let digits = time.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |at: usize, length: usize| {
        let digits = digits.get(at..at.checked_add(length)?)?;
        Some(digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    };
    let (year, at) = match digits.len() {
        12 => match number(0, 2)? {
            year @ 0..50 => (2000 + year, 2),
            year => (1900 + year, 2),
        },
        14 => (number(0, 4)?, 4),
        _ => return None,
    };
    let (month, day) = (number(at, 2)?, number(at + 2, 2)?);
    let (hour, minute, second) = (number(at + 4, 2)?, number(at + 6, 2)?, number(at + 8, 2)?);
    // The year begins in March, so that a leap day is its last.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Reads a certificate in each way that there is, for the fuzz target.
#[cfg(feature = "sim")]
pub(super) fn read_all(der: &[u8]) {
    let _ = (signature_hash(der), this_update(der));
    let _ = content(der).and_then(key);
    if let Some(certificate) = Certificate::parse(der) {
        let _ = (certificate.dates(), certificate.may_sign_certificates());
        let _ = certificate.has_name_constraints();
        let _ = (certificate.has_alternative_name(), certificate.common_name());
        let _ = (certificate.issuer_name(), certificate.is_self_issued());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let check = |text: &str, expect: Option<i64>| {
            assert_eq!(seconds(text.as_bytes()), expect, "{text}");
        };
        check("700101000000Z", Some(0));
        check("19700101000000Z", Some(0));
        check("000229235959Z", Some(951_868_799));
        check("20380119031408Z", Some(1 << 31));
        check("491231235959Z", Some(2_524_607_999));
        check("500101000000Z", Some(-631_152_000));
        check("700101000000", None);
        check("7001010000Z", None);
        check("70010100000xZ", None);
    }

    #[test]
    fn a_length_never_reaches_beyond_the_bytes() {
        assert_eq!(element(&[0x30, 0x02, 1]), None);
        assert_eq!(element(&[0x30, 0x84, 0, 0, 0, 0]), None);
        assert_eq!(element(&[0x30, 0x80]), None);
        assert_eq!(element(&[0x30, 0x83, 0xff, 0xff]), None);
        assert_eq!(element(&[0x30, 0x81, 1, 7, 8]), Some((0x30, &[7][..], &[8][..])));
    }
}
