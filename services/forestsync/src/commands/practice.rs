//! `forestsync practice forest` and `forestsync practice tenant`: a peer of its own, for trying things out.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use forestsync_practice::forest::{AccountOptions, ForestOptions, PracticeForest};
use forestsync_practice::population::{Population, PopulationOptions};
use forestsync_practice::tenant::{ClientSecret, PracticeTenant, TenantOptions};
use forestsync_practice::tls::PrivateCa;
use forestsync_runtime::shutdown;
use serde::Serialize;

use crate::cli::{PracticeCommand, PracticeForestArgs, PracticeTenantArgs};
use crate::exit::Exit;
use crate::output;

/// The account that a practice forest keeps for forestsync.
pub const READER: &str = "svc-forestsync";

/// Starts a peer and keeps it until SIGINT or SIGTERM.
pub async fn practice(command: PracticeCommand) -> Result<Exit> {
    match command {
        PracticeCommand::Forest(args) => forest(args).await,
        PracticeCommand::Tenant(args) => tenant(args).await,
    }
}

/// What `practice forest` prints.
#[derive(Debug, Serialize)]
struct ForestReport {
    name: String,
    naming_context: String,
    host: String,
    ldaps: String,
    starttls: String,
    ca_file: PathBuf,
    reader: String,
    reader_password_file: PathBuf,
    admin: String,
    admin_password_file: PathBuf,
    objects: usize,
}

/// What `practice tenant` prints.
#[derive(Debug, Serialize)]
struct TenantReport {
    tenant_id: String,
    client_id: String,
    client_secret_file: PathBuf,
    authority: String,
    graph: String,
    ca_file: PathBuf,
    domains: Vec<String>,
}

/// Where a peer leaves its files; a temporary folder goes with the process.
struct Place {
    path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Place {
    fn new(dir: Option<PathBuf>) -> Result<Self> {
        if let Some(path) = dir {
            std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
            return Ok(Self { path, _temporary: None });
        }
        let temporary = tempfile::Builder::new().prefix("forestsync-practice-").tempdir()?;
        Ok(Self { path: temporary.path().to_owned(), _temporary: Some(temporary) })
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        write_private(&path, text)?;
        Ok(path)
    }
}

/// Writes a file that only this account can read.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let open = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = open.with_context(|| format!("{} cannot be written", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("{} cannot be written", path.display()))
}

/// A password nobody can guess.
pub fn password() -> String {
    format!("Practice-{}", uuid::Uuid::new_v4().simple())
}

/// `emea.example` as `DC=emea,DC=example`.
pub fn base_of(domain: &str) -> String {
    domain.split('.').map(|label| format!("DC={label}")).collect::<Vec<_>>().join(",")
}

/// A practice forest with accounts of the names used everywhere, and its passwords: administrator, reader.
pub fn forest_options(name: &str, domain: &str) -> (ForestOptions, String, String) {
    let (admin, reader) = (password(), password());
    let mut options = ForestOptions::new(name, &base_of(domain), &admin, &reader);
    options.reader = AccountOptions::reader(READER, &reader);
    (options, admin, reader)
}

async fn forest(args: PracticeForestArgs) -> Result<Exit> {
    let domain = args.domain.clone().unwrap_or_else(|| format!("{}.example", args.name));
    let (mut options, admin, reader) = forest_options(&args.name, &domain);
    (options.listen_ldaps, options.listen_ldap) = (args.listen, args.listen_starttls);
    let place = Place::new(args.dir)?;
    let ca = PrivateCa::new()?;
    let forest = PracticeForest::start(options.clone(), &ca).await?;
    let population = Population::new(
        args.seed,
        PopulationOptions {
            users: args.users,
            groups: args.users / 8,
            contacts: args.users / 20,
            flawed: !args.tidy,
            ..PopulationOptions::new(&options.base, &domain)
        },
    );
    let objects = forest.control().load(population.objects()).await?;
    let report = ForestReport {
        name: args.name.clone(),
        naming_context: options.base.clone(),
        host: options.host.clone(),
        ldaps: forest.ldaps_addr().to_string(),
        starttls: forest.ldap_addr().to_string(),
        ca_file: place.write("ca.pem", ca.pem())?,
        reader: format!("{READER}@{domain}"),
        reader_password_file: place.write("reader-password", &reader)?,
        admin: format!("Administrator@{domain}"),
        admin_password_file: place.write("admin-password", &admin)?,
        objects,
    };
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&forest_text(&report, forest.ldaps_addr().port()))?;
    }
    shutdown::on_signals()?.stop.cancelled().await;
    forest.stop().await;
    Ok(Exit::Done)
}

fn forest_text(report: &ForestReport, port: u16) -> String {
    format!(
        "Practice forest {name} with {objects} objects; it ends with SIGINT or SIGTERM.\n\n\
         LDAPS       {ldaps}\nStartTLS    {starttls}\nAdmin       {admin}, password in {admin_file}\n\n\
         For the configuration file:\n\n\
         [[forests]]\n\
         name = \"{name}\"\n\
         controllers = [{{ url = \"ldaps://{host}:{port}\", address = \"{ldaps}\" }}]\n\
         ca_file = \"{ca}\"\nbind = \"{reader}\"\npassword_file = \"{reader_file}\"\ndomains = [\"{nc}\"]\n",
        name = report.name,
        objects = report.objects,
        ldaps = report.ldaps,
        starttls = report.starttls,
        admin = report.admin,
        admin_file = report.admin_password_file.display(),
        host = report.host,
        ca = report.ca_file.display(),
        reader = report.reader,
        reader_file = report.reader_password_file.display(),
        nc = report.naming_context,
    )
}

async fn tenant(args: PracticeTenantArgs) -> Result<Exit> {
    let place = Place::new(args.dir)?;
    let ca = PrivateCa::new()?;
    let secret = password();
    let mut options = TenantOptions {
        listen: args.listen,
        client_secret: ClientSecret::new(secret.as_str()),
        verified_domains: args.domains.clone(),
        state_file: args.state,
        record_file: args.record,
        ..TenantOptions::default()
    };
    options.knobs.latency = args.latency;
    options.knobs.quota_scale = args.quota;
    let (tenant_id, client_id) = (options.tenant_id.clone(), options.client_id.clone());
    let tenant = PracticeTenant::start(options, &ca).await?;
    let report = TenantReport {
        tenant_id,
        client_id,
        client_secret_file: place.write("client-secret", &secret)?,
        authority: tenant.authority_url(),
        graph: tenant.graph_url(),
        ca_file: place.write("ca.pem", ca.pem())?,
        domains: args.domains,
    };
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&tenant_text(&report))?;
    }
    shutdown::on_signals()?.stop.cancelled().await;
    tenant.stop().await?;
    Ok(Exit::Done)
}

fn tenant_text(report: &TenantReport) -> String {
    format!(
        "Practice tenant with the domains {domains}; it ends with SIGINT or SIGTERM.\n\n\
         For the configuration file:\n\n\
         [tenant]\ntenant_id = \"{tenant}\"\nclient_id = \"{client}\"\nclient_secret_file = \"{secret}\"\n\
         cloud = {{ authority = \"{authority}\", graph = \"{graph}\" }}\nca_file = \"{ca}\"\n",
        domains = report.domains.join(", "),
        tenant = report.tenant_id,
        client = report.client_id,
        secret = report.client_secret_file.display(),
        authority = report.authority,
        graph = report.graph,
        ca = report.ca_file.display(),
    )
}
