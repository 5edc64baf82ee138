//! The filters of DescribeVolumes: any of a filter's values, all of the filters, `*` and `?` in values.

use super::super::timestamp;
use super::fault::{Code, Ec2Fault, Result};
use super::parameters::Parameters;
use super::volume_view::{attachment_status, ec2_status};
use crate::model::attachment::Attachment;
use crate::model::volume::Volume;

/// Most filters of a request.
const FILTERS_MAX: usize = 50;
/// Most values of one filter.
const VALUES_MAX: usize = 200;
/// Longest value, in bytes.
const VALUE_MAX_BYTES: usize = 1024;

/// One filter of a request.
#[derive(Debug)]
pub(super) struct Filter {
    /// Its name: `status`, `tag:Owner`.
    pub(super) name: String,
    /// Its patterns; any of them may match.
    pub(super) values: Vec<String>,
}

/// Reads `Filter.N.Name` and `Filter.N.Value.M`.
pub(super) fn read(parameters: &Parameters) -> Result<Vec<Filter>> {
    let members = parameters.members("Filter")?;
    if members.len() > FILTERS_MAX {
        return Err(refused(format!(
            "A request has at most {FILTERS_MAX} filters."
        )));
    }
    members
        .iter()
        .map(|member| {
            let name = member.required("Name")?.to_owned();
            let values: Vec<String> = member
                .list("Value")?
                .into_iter()
                .map(str::to_owned)
                .collect();
            if values.len() > VALUES_MAX || values.iter().any(|v| v.len() > VALUE_MAX_BYTES) {
                return Err(refused(format!(
                    "A filter has at most {VALUES_MAX} values of at most {VALUE_MAX_BYTES} bytes."
                )));
            }
            Ok(Filter { name, values })
        })
        .collect()
}

fn refused(text: String) -> Ec2Fault {
    Ec2Fault::coded(Code::InvalidParameterValue, text)
}

/// The refusal of a filter that an action does not know.
pub(super) fn unknown(name: &str) -> Ec2Fault {
    let name: String = name.chars().take(64).collect();
    refused(format!("The filter '{name}' is invalid"))
}

impl Filter {
    /// True when any pattern matches any of the texts.
    pub(super) fn matches_any(&self, texts: &[String]) -> bool {
        self.values.iter().any(|pattern| {
            texts
                .iter()
                .any(|text| wildcard(pattern.as_bytes(), text.as_bytes()))
        })
    }

    /// The one value when it has no wildcard, for a query that the database can answer.
    pub(super) fn exact(&self) -> Option<&str> {
        match self.values.as_slice() {
            [value] if !value.contains(['*', '?', '\\']) => Some(value),
            _ => None,
        }
    }

    /// True when the volume passes; refuses names that EC2 does not have.
    pub(super) fn passes(&self, volume: &Volume, attachments: &[Attachment]) -> Result<bool> {
        if let Some(key) = self.name.strip_prefix("tag:") {
            let value: Vec<_> = volume.metadata.get(key).cloned().into_iter().collect();
            return Ok(self.matches_any(&value));
        }
        let attached = |text: fn(&Attachment) -> Option<String>| -> Vec<String> {
            attachments
                .iter()
                .filter(|attachment| attachment.volume_id == volume.id)
                .filter_map(text)
                .collect()
        };
        let texts = match self.name.as_str() {
            "volume-id" => vec![volume.ec2_id.clone()],
            "status" => vec![ec2_status(volume.status).to_owned()],
            "size" => vec![volume.size_gib.to_string()],
            "volume-type" => vec![volume.flavor_label.clone()],
            "availability-zone" => vec![volume.zone.clone()],
            "create-time" => vec![timestamp::ec2(volume.created_at_us)],
            "encrypted" | "multi-attach-enabled" | "fast-restored" => vec!["false".to_owned()],
            "snapshot-id" => Vec::new(),
            "tag-key" => volume.metadata.keys().cloned().collect(),
            "attachment.instance-id" => attached(|a| a.instance_id.clone()),
            "attachment.device" => attached(|a| a.mountpoint.clone()),
            "attachment.status" => attached(|a| Some(attachment_status(a.status).to_owned())),
            "attachment.attach-time" => attached(|a| a.attached_at_us.map(timestamp::ec2)),
            "attachment.delete-on-termination" => attached(|_| Some("false".to_owned())),
            _ => return Err(unknown(&self.name)),
        };
        Ok(self.matches_any(&texts))
    }
}

/// Matches `*` (any text), `?` (any one byte) and `\` (the next one as it is), in time linear in both lengths for each
/// star.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut resume: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some(b'*') => {
                resume = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'?') if t < text.len() => Some(1),
            Some(b'\\') if p + 1 < pattern.len() => {
                (text.get(t) == Some(&pattern[p + 1])).then_some(2)
            }
            Some(b'?') => None,
            Some(byte) => (text.get(t) == Some(byte)).then_some(1),
            None if t == text.len() => return true,
            None => None,
        };
        match (step, resume) {
            (Some(width), _) => {
                p += width;
                t += 1;
            }
            (None, Some((after_star, from))) if from < text.len() => {
                resume = Some((after_star, from + 1));
                p = after_star;
                t = from + 1;
            }
            (None, _) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_ec2_says() {
        let matches = |pattern: &str, text: &str| wildcard(pattern.as_bytes(), text.as_bytes());
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "anything"),
            ("a*c", "abbc"),
            ("a*c", "ac"),
            ("*b*b*", "abcb"),
            ("?x", "ax"),
            (r"\*a\?", "*a?"),
            ("2016-*", "2016-08-29T17:35:47.918Z"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("?", ""),
            ("a*c", "abcd"),
            (r"\*", "x"),
            ("Gold", "gold"),
            ("*b*b*", "abc"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        let many_stars = "*a".repeat(100) + "b";
        assert!(!matches(&many_stars, &"a".repeat(1000)));
    }
}
