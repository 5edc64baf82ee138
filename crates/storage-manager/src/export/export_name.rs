//! The export name that `VDI.get_nbd_info` hands out: `/<vdi uuid>?session_id=<session>`.
//!
//! Source: XenAPI 1.9 NBD exports, `exportname`.

use uuid::Uuid;

/// A parsed name. It holds a bearer token: it has no `Debug` and is never logged.
pub struct SessionExportName {
    /// The VDI.
    pub vdi: Uuid,
    /// The session reference.
    pub session: String,
}

/// Reads a name; anything else than the form above is none.
pub fn parse(name: &str) -> Option<SessionExportName> {
    let (path, query) = name.strip_prefix('/')?.split_once('?')?;
    let vdi = Uuid::try_parse(path).ok()?;
    let session = form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == "session_id")?
        .1
        .into_owned();
    (!session.is_empty()).then_some(SessionExportName { vdi, session })
}

/// Writes a name.
pub fn format(vdi: Uuid, session: &str) -> String {
    format!("/{vdi}?session_id={session}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let vdi = Uuid::from_u128(7);
        let name = parse(&format(vdi, "OpaqueRef:a-b")).unwrap();
        assert_eq!((name.vdi, name.session.as_str()), (vdi, "OpaqueRef:a-b"));
        assert_eq!(
            parse(&format!("/{vdi}?x=1&session_id=OpaqueRef%3Aa"))
                .unwrap()
                .session,
            "OpaqueRef:a"
        );
        for bad in [
            "",
            "/",
            "/x?session_id=a",
            &vdi.to_string(),
            &format!("/{vdi}"),
            &format!("/{vdi}?session_id="),
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
