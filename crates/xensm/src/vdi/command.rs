//! What a user types, and what he is told.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::image_file::{ImageFormat, Output, Overwrite, is_pipe, vhd_size};
use super::transfer::{self, Moved};
use crate::config::{self, CommonFlags, ServeFlags};
use crate::data_dir::DataDir;
use crate::failure::{Exit, Failure, Result};
use crate::pool_client::{Pool, PoolFlags};
use crate::ui::{self, Format};

/// VDIs of a storage manager, and their content to and from files.
#[derive(clap::Args)]
pub struct VdiArguments {
    #[command(flatten)]
    pool: PoolFlags,
    #[command(subcommand)]
    command: VdiCommand,
}

#[derive(Subcommand)]
enum VdiCommand {
    /// Lists VDIs.
    #[command(after_help = "Examples:
  xensm vdi list
  xensm vdi --url http://127.0.0.1:8780 list --format json")]
    List {
        /// Base copies, which only other VDIs use, too.
        #[arg(long)]
        all: bool,
        /// How the result is written.
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Shows one VDI.
    #[command(after_help = "Example:
  xensm vdi show 5b0f4a1e-3c0e-4f5b-8a51-0d5a6a1f6f5e")]
    Show {
        /// The VDI: its uuid, its reference, or a name that only one has.
        vdi: String,
        /// How the result is written.
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Writes the content of a VDI to a file.
    #[command(after_help = "Examples:
  xensm vdi export myvdi backup.vhd
  xensm vdi export myvdi-tuesday tuesday.vhd --base myvdi-monday     only what differs
  xensm vdi export myvdi - --format raw | zstd > backup.raw.zst
  xensm vdi export myvdi backup.vhd --format json")]
    Export(ExportArguments),
    /// Replaces the content of a VDI by that of a file, or makes a VDI of it.
    #[command(after_help = "Examples:
  xensm vdi import backup.vhd --vdi myvdi --yes
  xensm vdi import tuesday.vhd --vdi myvdi --yes       a delta, on top of the backup that it was made against
  xensm vdi import image.raw --sr mysr --name restored
  zstd -dc backup.raw.zst | xensm vdi import - --format raw --vdi myvdi --yes")]
    Import(ImportArguments),
}

/// What `--format` takes where there is an image too; both can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum AnyFormat {
    /// The image: the bytes as they are.
    Raw,
    /// The image: a VHD.
    Vhd,
    /// The result: for people.
    Table,
    /// The result: for programs.
    Json,
}

#[derive(clap::Args)]
struct FormatFlags {
    /// Of the image raw or vhd [default: by the suffix of the file, .vhd or else raw]; of the result table or json; give it
    /// twice for both
    #[arg(long, value_enum, value_delimiter = ',')]
    format: Vec<AnyFormat>,
}

impl FormatFlags {
    fn image(&self, path: &Path) -> ImageFormat {
        let named = self.format.iter().find_map(|format| match format {
            AnyFormat::Raw => Some(ImageFormat::Raw),
            AnyFormat::Vhd => Some(ImageFormat::Vhd),
            AnyFormat::Table | AnyFormat::Json => None,
        });
        named.unwrap_or_else(|| ImageFormat::of_path(path))
    }

    fn result(&self) -> Format {
        if self.format.contains(&AnyFormat::Json) {
            Format::Json
        } else {
            Format::Table
        }
    }
}

#[derive(clap::Args)]
struct ExportArguments {
    /// The VDI: its uuid, its reference, or a name that only one has.
    vdi: String,
    /// The file, made with holes where the VDI is empty; - for stdout.
    file: PathBuf,
    #[command(flatten)]
    formats: FormatFlags,
    /// Only what differs from this VDI, as a VHD.
    #[arg(long, value_name = "VDI")]
    base: Option<String>,
    /// Replaces a file that exists, once the new image is whole: until then both take room.
    #[arg(long)]
    overwrite: bool,
}

#[derive(clap::Args)]
struct ImportArguments {
    /// The file; - for stdin.
    file: PathBuf,
    /// The VDI whose content is replaced: its uuid, its reference, or a name that only one has.
    #[arg(long, required_unless_present = "sr", conflicts_with = "sr")]
    vdi: Option<String>,
    /// Makes a VDI in this SR: its uuid, its reference, or a name that only one has.
    #[arg(long)]
    sr: Option<String>,
    /// The name of the VDI that is made [default: the file's].
    #[arg(long, requires = "sr")]
    name: Option<String>,
    /// Bytes of the VDI that is made [default: those of the image].
    #[arg(long, requires = "sr", value_name = "BYTES")]
    size: Option<u64>,
    #[command(flatten)]
    formats: FormatFlags,
    /// Does not ask before content is replaced.
    #[arg(long, short = 'y')]
    yes: bool,
}

/// Runs one command.
pub fn run(common: &CommonFlags, arguments: &VdiArguments) -> Result<()> {
    let file = config::load(common, &ServeFlags::default())?;
    let data_dir = DataDir::new(&file.data_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Failure::failed("start the runtime", &cause))?;
    runtime.block_on(async {
        let pool = Pool::login(&arguments.pool, &data_dir).await?;
        let outcome = match &arguments.command {
            VdiCommand::List { all, format } => list(&pool, *all, *format).await,
            VdiCommand::Show { vdi, format } => show(&pool, vdi, *format).await,
            VdiCommand::Export(arguments) => export(&pool, arguments).await,
            VdiCommand::Import(arguments) => import(&pool, arguments).await,
        };
        pool.logout().await;
        outcome
    })
}

async fn list(pool: &Pool, all: bool, format: Format) -> Result<()> {
    let srs = pool.call("SR.get_all_records", &[]).await?;
    let records = pool.call("VDI.get_all_records", &[]).await?;
    let mut vdis: Vec<&Value> = records
        .as_object()
        .into_iter()
        .flat_map(|records| records.values())
        .filter(|record| all || record["managed"] == json!(true))
        .collect();
    vdis.sort_by_key(|record| (text(record, "name_label"), text(record, "uuid")));
    if format == Format::Json {
        ui::json(&json!(vdis));
        return Ok(());
    }
    let row = |record: &&Value| {
        vec![
            text(record, "uuid"),
            text(record, "name_label"),
            ui::bytes(number(record, "virtual_size")),
            ui::bytes(number(record, "physical_utilisation")),
            text(&srs[text(record, "SR")], "name_label"),
            kind(record).to_owned(),
        ]
    };
    let header = ["uuid", "name", "size", "used", "sr", "kind"];
    ui::table(&header, vdis.iter().map(row).collect());
    Ok(())
}

fn kind(record: &Value) -> &'static str {
    if record["managed"] != json!(true) {
        "base copy"
    } else if record["type"] == json!("cbt_metadata") {
        "changes only"
    } else if record["is_a_snapshot"] == json!(true) {
        "snapshot"
    } else {
        ""
    }
}

async fn show(pool: &Pool, vdi: &str, format: Format) -> Result<()> {
    let (_, record) = find(pool, "VDI", vdi).await?;
    if format == Format::Json {
        ui::json(&record);
        return Ok(());
    }
    let fields = record.as_object().into_iter().flatten();
    let row = |(name, value): (&String, &Value)| {
        let told = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        vec![name.clone(), told]
    };
    ui::table(&["field", "value"], fields.map(row).collect());
    Ok(())
}

async fn export(pool: &Pool, arguments: &ExportArguments) -> Result<()> {
    let format = arguments.formats.image(&arguments.file);
    let (vdi, record) = find(pool, "VDI", &arguments.vdi).await?;
    let base = match &arguments.base {
        Some(_) if format == ImageFormat::Raw => {
            return Err(Failure::new(
                Exit::Usage,
                "what differs from a base is written as a VHD only",
            )
            .hint("name the file *.vhd, or say --format vhd"));
        }
        Some(base) => Some(find(pool, "VDI", base).await?),
        None => None,
    };
    let overwrite = if arguments.overwrite {
        Overwrite::Allow
    } else {
        Overwrite::Refuse
    };
    let size = number(&record, "virtual_size");
    let mut output = Output::create(&arguments.file, overwrite)?;
    let base_reference = base.as_ref().map(|(reference, _)| reference.as_str());
    let moved = transfer::export(
        pool,
        &vdi,
        &text(&record, "uuid"),
        format,
        base_reference,
        size,
        &mut output,
    )
    .await;
    let moved = match moved {
        Ok(moved) => moved,
        Err(failure) => {
            output.discard();
            return Err(failure);
        }
    };
    let result = json!({
        "vdi": text(&record, "uuid"),
        "base": base.map(|(_, record)| text(&record, "uuid")),
        "file": arguments.file.display().to_string(),
        "image_format": format.name(),
        "virtual_size": size,
        "bytes": moved.bytes,
        "seconds": moved.seconds,
    });
    tell(&arguments.formats, &arguments.file, &result, || {
        format!(
            "VDI {} exported to {}: {}",
            text(&record, "uuid"),
            arguments.file.display(),
            rate(&moved)
        )
    });
    Ok(())
}

async fn import(pool: &Pool, arguments: &ImportArguments) -> Result<()> {
    let format = arguments.formats.image(&arguments.file);
    let source = Source::open(&arguments.file, format)?;
    let (vdi, uuid) = match &arguments.sr {
        Some(sr) => make(pool, sr, arguments, &source).await?,
        None => {
            let name = arguments.vdi.as_deref().unwrap_or_default();
            let (vdi, record) = find(pool, "VDI", name).await?;
            let confirmation = if arguments.yes {
                ui::Confirmation::Given
            } else {
                ui::Confirmation::Ask
            };
            let uuid = text(&record, "uuid");
            ui::confirm(
                &format!("WARNING: this replaces the content of VDI {uuid} ({name})."),
                confirmation,
            )?;
            (vdi, uuid)
        }
    };
    let moved = transfer::import(pool, &vdi, &uuid, format, source.input, source.length).await;
    if moved.is_err() && arguments.sr.is_some() {
        // It was made for this, and nobody knows of it. If it cannot be removed, the failure that is told is the import's.
        let _ = pool.call("VDI.destroy", &[json!(vdi)]).await;
    }
    let moved = moved?;
    let result = json!({
        "vdi": uuid,
        "file": arguments.file.display().to_string(),
        "image_format": format.name(),
        "bytes": moved.bytes,
        "seconds": moved.seconds,
    });
    tell(&arguments.formats, Path::new(""), &result, || {
        format!(
            "{} imported into VDI {uuid}: {}",
            arguments.file.display(),
            rate(&moved)
        )
    });
    Ok(())
}

/// The image of an import.
struct Source {
    input: Box<dyn Read + Send>,
    length: Option<u64>,
    virtual_size: Option<u64>,
}

impl Source {
    fn open(path: &Path, format: ImageFormat) -> Result<Self> {
        if is_pipe(path) {
            return Ok(Source {
                input: Box::new(std::io::stdin()),
                length: None,
                virtual_size: None,
            });
        }
        let attempt =
            |cause: std::io::Error| Failure::failed(format!("open {}", path.display()), &cause);
        let file = File::open(path).map_err(attempt)?;
        let length = file.metadata().map_err(attempt)?.len();
        let virtual_size = match format {
            ImageFormat::Raw => Some(length),
            ImageFormat::Vhd => Some(vhd_size(&file, length).ok_or_else(|| {
                Failure::new(Exit::Usage, format!("{} is no VHD", path.display()))
                    .hint("say --format raw if its bytes are the VDI's own")
            })?),
        };
        Ok(Source {
            input: Box::new(file),
            // A device has no length of its own.
            length: Some(length).filter(|length| *length > 0),
            virtual_size: virtual_size.filter(|size| *size > 0),
        })
    }
}

/// Makes the VDI that an import is to fill.
async fn make(
    pool: &Pool,
    sr: &str,
    arguments: &ImportArguments,
    source: &Source,
) -> Result<(String, String)> {
    let size = arguments.size.or(source.virtual_size).ok_or_else(|| {
        Failure::new(Exit::Usage, "the size of the VDI is not known")
            .hint("say it with --size BYTES")
    })?;
    let (sr, _) = find(pool, "SR", sr).await?;
    let file_name = arguments.file.file_stem().unwrap_or_default();
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => file_name.to_string_lossy().into_owned(),
    };
    let record = json!({
        "name_label": name, "name_description": "", "SR": sr, "virtual_size": size, "type": "user",
        "sharable": false, "read_only": false, "other_config": {},
    });
    let made = pool.call("VDI.create", &[record]).await?;
    let uuid = pool
        .call("VDI.get_uuid", std::slice::from_ref(&made))
        .await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok((text(&made), text(&uuid)))
}

/// Finds an object by uuid, reference or name.
async fn find(pool: &Pool, class: &str, name: &str) -> Result<(String, Value)> {
    let by_name = format!("{class}.get_by_name_label");
    let references: Vec<Value> = if name.starts_with("OpaqueRef:") {
        vec![json!(name)]
    } else if uuid::Uuid::parse_str(name).is_ok() {
        vec![
            pool.call(&format!("{class}.get_by_uuid"), &[json!(name)])
                .await?,
        ]
    } else {
        let found = pool.call(&by_name, &[json!(name)]).await?;
        found.as_array().cloned().unwrap_or_default()
    };
    let word = if class == "SR" { "an SR" } else { "a VDI" };
    match references.as_slice() {
        [] => Err(Failure::new(
            Exit::NotFound,
            format!("nothing is called {name} that is {word}"),
        )
        .hint("`xensm vdi list` shows what there is; names are compared exactly")),
        [reference] => {
            let get_record = format!("{class}.get_record");
            let record = pool
                .call(&get_record, std::slice::from_ref(reference))
                .await?;
            Ok((reference.as_str().unwrap_or_default().to_owned(), record))
        }
        _ => Err(Failure::new(
            Exit::Conflict,
            format!("{} of them are called {name}", references.len()),
        )
        .hint("name it by its uuid")),
    }
}

/// Tells the result: on stderr when the image itself went to stdout.
fn tell(formats: &FormatFlags, output: &Path, result: &Value, line: impl FnOnce() -> String) {
    let told = match formats.result() {
        Format::Json => serde_json::to_string_pretty(result).unwrap_or_default(),
        Format::Table => line(),
    };
    if is_pipe(output) {
        ui::talk(told);
    } else {
        ui::result(told);
    }
}

fn rate(moved: &Moved) -> String {
    let mib = moved.bytes as f64 / f64::from(1 << 20);
    format!(
        "{mib:.1} MiB in {:.1} s ({:.0} MiB/s)",
        moved.seconds,
        mib / moved.seconds.max(0.001)
    )
}

fn text(record: &Value, field: &str) -> String {
    record[field].as_str().unwrap_or_default().to_owned()
}

/// An integer, which an older pool writes as text.
fn number(record: &Value, field: &str) -> u64 {
    let value = &record[field];
    let text = || value.as_str().and_then(|text| text.parse().ok());
    value.as_u64().or_else(text).unwrap_or(0)
}
