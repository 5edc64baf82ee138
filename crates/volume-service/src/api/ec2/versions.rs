//! Versions of the API: the date that a client was written for, which the answer's namespace repeats.
//!
//! What is built has one form in all of them, so that any date in the API's life will do.

use super::fault::Result;
use super::parameters::Parameters;
use super::words;

/// The version of a request that names none, and the newest that there is.
const NEWEST: &str = "2016-11-15";
/// The first one.
const OLDEST: &str = "2006-06-26";

/// The version that a request asks for; refuses what is no date between the first version and the newest.
pub(super) fn read(parameters: &Parameters) -> Result<String> {
    let Some(version) = parameters.arguments().text("Version") else {
        return Ok(NEWEST.to_owned());
    };
    if is_date(version) && (OLDEST..=NEWEST).contains(&version) {
        return Ok(version.to_owned());
    }
    Err(words::no_such_version(version))
}

/// `2016-11-15`
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &str, width: usize, most: u32| {
        let digits = part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit());
        digits && matches!(part.parse::<u32>(), Ok(number) if (1..=most).contains(&number))
    };
    match parts.as_slice() {
        [year, month, day] => number(year, 4, 9999) && number(month, 2, 12) && number(day, 2, 31),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Code;
    use super::*;

    #[test]
    fn versions_are_dates_of_the_apis_life() {
        let version = |query: &str| {
            let parameters = Parameters::parse(query, b"").expect("good parameters");
            read(&parameters).map_err(|fault| fault.code())
        };
        for good in [
            "2006-06-26",
            "2009-11-30",
            "2014-10-01",
            "2015-10-01",
            NEWEST,
        ] {
            assert_eq!(version(&format!("Version={good}")), Ok(good.to_owned()));
        }
        for none in ["", "Version="] {
            assert_eq!(version(none), Ok(NEWEST.to_owned()));
        }
        for bad in [
            "2006-06-25",
            "2016-11-16",
            "2010-13-01",
            "2010-00-01",
            "2010-01-32",
            "2010-1-1",
            "2010-01-011",
            "20100101",
            "latest",
            "2010-01-01\"><x",
        ] {
            let refused = version(&format!("Version={bad}"));
            assert_eq!(refused, Err(Code::NoSuchVersion), "{bad}");
        }
    }
}
