//! The Block Storage routes against a real service; no worker runs, so that volumes stay `creating`.

mod hostile;
mod reading;
mod volumes;
