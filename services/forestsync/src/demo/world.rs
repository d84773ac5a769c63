//! The peers of the demo, and the independent answer to what the tenant should hold.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use forestsync_domain::{Dn, ObjectGuid};
use forestsync_practice::forest::{LiveObject, PracticeForest};
use forestsync_practice::oracle::{self, Entry, ForestReading, Holdings};
use forestsync_practice::population::{Population, PopulationOptions};
use forestsync_practice::tenant::{ClientSecret, PracticeTenant, TenantOptions};
use forestsync_practice::tls::PrivateCa;
use tokio::time::Instant;

use super::ldap::Directory;
use crate::cli::DemoArgs;
use crate::commands::practice::{READER, forest_options, password, write_private};

/// Name, domain, share of all users in tenths, and whether the scope is a container or the whole domain.
const FORESTS: [(&str, &str, u64, bool); 3] =
    [("emea", "emea.example", 5, true), ("apac", "apac.example", 3, false), ("amer", "amer.example", 2, true)];

/// Organizational units of each population. The last one is excluded in the first forest; having an odd number, it
/// has no units below it.
const UNITS: usize = 12;

/// The unit that is excluded.
const EXCLUDED: usize = UNITS - 1;

/// One forest of the demo.
#[derive(Debug)]
pub(super) struct Forest {
    /// Its name in the configuration.
    pub(super) name: &'static str,
    /// Its DNS name, which is also the suffix of user names.
    pub(super) domain: &'static str,
    /// The server.
    pub(super) peer: PracticeForest,
    /// What it was filled with.
    pub(super) population: Population,
    /// An administrator's connection.
    pub(super) admin: Directory,
    reader_password: String,
    include: Vec<String>,
    exclude: Vec<String>,
    include_ids: Vec<[u8; 16]>,
    exclude_ids: Vec<[u8; 16]>,
    /// The object that a later change brings back, and its name.
    pub(super) deleted: Option<(ObjectGuid, String)>,
}

/// All peers of the demo.
#[derive(Debug)]
pub(super) struct World {
    pub(super) forests: Vec<Forest>,
    pub(super) tenant: PracticeTenant,
    folder: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Forest {
    async fn start(index: usize, users: u64, seed: u64, ca: &PrivateCa) -> Result<Self> {
        let (name, domain, tenths, scoped) = FORESTS.get(index).copied().context("there are three forests")?;
        let (options, admin_password, reader_password) = forest_options(name, domain);
        let (base, host) = (options.base.clone(), options.host.clone());
        let peer = PracticeForest::start(options, ca).await?;
        let users = usize::try_from(users * tenths / 10)?.max(10);
        let sizes = PopulationOptions {
            users,
            groups: (users / 6).max(12),
            contacts: (users / 20).max(2),
            ous: UNITS,
            members_per_group: 12,
            flawed: false,
            ..PopulationOptions::new(&base, domain)
        };
        let population = Population::new(seed.wrapping_add(index as u64), sizes);
        peer.control().load(population.objects()).await?;
        let account = format!("Administrator@{domain}");
        let admin = Directory::connect(peer.ldaps_addr(), &host, ca.pem(), &account, &admin_password).await?;
        let include = if scoped { vec![population.top_dn()] } else { Vec::new() };
        let exclude = if index == 0 { vec![population.unit_dn(EXCLUDED).to_owned()] } else { Vec::new() };
        let mut forest = Self {
            name,
            domain,
            peer,
            population,
            admin,
            reader_password,
            include,
            exclude,
            include_ids: Vec::new(),
            exclude_ids: Vec::new(),
            deleted: None,
        };
        let objects = forest.objects();
        let ids = |names: &[String]| names.iter().filter_map(|dn| named(&objects, dn).map(|o| o.guid)).collect();
        (forest.include_ids, forest.exclude_ids) = (ids(&forest.include), ids(&forest.exclude));
        Ok(forest)
    }

    /// All live objects, read behind LDAP's back.
    pub(super) fn objects(&self) -> Vec<LiveObject> {
        self.peer.control().dump()
    }

    /// The live object of that name.
    pub(super) fn object(&self, dn: &str) -> Result<LiveObject> {
        named(&self.objects(), dn).cloned().with_context(|| format!("{dn} is not in the practice forest"))
    }

    /// What the tenant should hold of this forest.
    pub(super) fn expected(&self) -> Holdings {
        oracle::expected(&[self.reading()])
    }

    /// What the forest looks like to the oracle.
    fn reading(&self) -> ForestReading {
        let objects = self.objects();
        // containers are followed by their identity, as the pipeline must
        let names = |ids: &[[u8; 16]]| {
            let found = ids.iter().filter_map(|id| objects.iter().find(|o| o.guid == *id));
            found.map(|o| o.dn.clone()).collect::<Vec<_>>()
        };
        ForestReading {
            base: self.peer.base().to_owned(),
            include: names(&self.include_ids),
            exclude: names(&self.exclude_ids),
            pinned: BTreeSet::new(),
            entries: entries(&objects),
        }
    }

    fn table(&self, ca_file: &str) -> String {
        let options = self.peer.options();
        let list = |names: &[String]| names.iter().map(|n| toml_text(n)).collect::<Vec<_>>().join(", ");
        format!(
            "\n[[forests]]\nname = \"{name}\"\n\
             controllers = [{{ url = \"ldaps://{host}\", address = \"{address}\" }}]\nca_file = \"{ca_file}\"\n\
             bind = \"{READER}@{domain}\"\npassword_file = \"{name}-password\"\ndomains = [\"{base}\"]\n\
             include = [{include}]\nexclude = [{exclude}]\n",
            name = self.name,
            domain = self.domain,
            host = options.host,
            address = self.peer.ldaps_addr(),
            base = options.base,
            include = list(&self.include),
            exclude = list(&self.exclude),
        )
    }
}

fn toml_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn named<'a>(objects: &'a [LiveObject], dn: &str) -> Option<&'a LiveObject> {
    let wanted: Dn = dn.parse().ok()?;
    objects.iter().find(|o| o.dn == dn || o.dn.parse::<Dn>().is_ok_and(|dn| dn == wanted))
}

/// objectClass of an object of this class: all it is made of. Other classes play no part in the demo.
fn classes(class: &str) -> &'static [&'static str] {
    match class {
        "user" => &["top", "person", "organizationalPerson", "user"],
        "inetOrgPerson" => &["top", "person", "organizationalPerson", "user", "inetOrgPerson"],
        "computer" => &["top", "person", "organizationalPerson", "user", "computer"],
        "contact" => &["top", "person", "organizationalPerson", "contact"],
        "group" => &["top", "group"],
        "organizationalUnit" => &["top", "organizationalUnit"],
        _ => &["top"],
    }
}

/// The objects as a plain search would show them.
fn entries(objects: &[LiveObject]) -> Vec<Entry> {
    let names: std::collections::HashMap<[u8; 16], &str> = objects.iter().map(|o| (o.guid, o.dn.as_str())).collect();
    let entry = |object: &LiveObject| {
        let mut attributes: Vec<(String, Vec<Vec<u8>>)> =
            object.attributes.iter().map(|(name, values)| ((*name).to_owned(), values.clone())).collect();
        attributes.push(("objectGUID".to_owned(), vec![object.guid.to_vec()]));
        let classes = classes(object.class).iter().map(|class| class.as_bytes().to_vec());
        attributes.push(("objectClass".to_owned(), classes.collect()));
        for (name, targets) in &object.links {
            let targets = targets.iter().filter_map(|guid| names.get(guid).map(|dn| dn.as_bytes().to_vec()));
            attributes.push(((*name).to_owned(), targets.collect()));
        }
        if let Some(rdn) = object.dn.parse::<Dn>().ok().as_ref().and_then(Dn::rdn) {
            attributes.push(("name".to_owned(), vec![rdn.value().as_bytes().to_vec()]));
        }
        Entry::new(&object.dn, attributes)
    };
    objects.iter().map(entry).collect()
}

impl World {
    /// Starts and fills the forests, starts the tenant, writes the configuration.
    pub(super) async fn start(args: &DemoArgs) -> Result<Self> {
        let (folder, temporary) = if let Some(dir) = &args.keep {
            (dir.clone(), None)
        } else {
            let temporary = tempfile::Builder::new().prefix("forestsync-demo-").tempdir()?;
            (temporary.path().to_owned(), Some(temporary))
        };
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let ca = PrivateCa::new()?;
        let mut forests = Vec::new();
        for index in 0..FORESTS.len() {
            forests.push(Forest::start(index, args.users, args.seed, &ca).await?);
        }
        let secret = password();
        let options = TenantOptions {
            client_secret: ClientSecret::new(secret.as_str()),
            verified_domains: FORESTS.iter().map(|(_, domain, _, _)| (*domain).to_owned()).collect(),
            record_file: args.record.clone(),
            ..TenantOptions::default()
        };
        let ids = (options.tenant_id.clone(), options.client_id.clone());
        let tenant = PracticeTenant::start(options, &ca).await?;
        let world = Self { forests, tenant, folder, _temporary: temporary };
        world.write(&ca, &secret, &ids)?;
        Ok(world)
    }

    fn write(&self, ca: &PrivateCa, secret: &str, ids: &(String, String)) -> Result<()> {
        let file = |name: &str| self.folder.join(name);
        anyhow::ensure!(
            !file("data").exists(),
            "{} holds the data of an earlier demo; choose an empty folder",
            self.folder.display()
        );
        write_private(&file("ca.pem"), ca.pem())?;
        write_private(&file("client-secret"), secret)?;
        let mut document = "configuration = \"demo\"\ndata = \"data\"\n".to_owned();
        for forest in &self.forests {
            write_private(&file(&format!("{}-password", forest.name)), &forest.reader_password)?;
            document += &forest.table("ca.pem");
        }
        let tenant = format!(
            "\n[tenant]\ntenant_id = \"{}\"\nclient_id = \"{}\"\nclient_secret_file = \"client-secret\"\n\
             writes_per_150_seconds = 1000000\nca_file = \"ca.pem\"\ncloud = {{ authority = \"{}\", graph = \"{}\" }}\n",
            ids.0,
            ids.1,
            self.tenant.authority_url(),
            self.tenant.graph_url(),
        );
        write_private(&self.config_file(), &(document + &tenant))
    }

    /// The configuration file.
    pub(super) fn config_file(&self) -> PathBuf {
        Path::new(&self.folder).join("forestsync.toml")
    }

    /// The peers in a few lines.
    pub(super) fn describe(&self) -> String {
        let lines = self.forests.iter().map(|forest| {
            let (options, p) = (forest.population.options(), forest.peer.ldaps_addr());
            let scope = match (forest.include.is_empty(), forest.exclude.is_empty()) {
                (true, _) => "the whole domain",
                (false, true) => "one container",
                (false, false) => "one container without one of its units",
            };
            format!(
                "  {:<5} ldaps://{p}  {} users, {} groups, {} contacts; in scope: {scope}",
                forest.name, options.users, options.groups, options.contacts
            )
        });
        let tenant = format!("  tenant {}", self.tenant.graph_url());
        lines.chain([tenant]).collect::<Vec<_>>().join("\n")
    }

    /// A forest by its place.
    pub(super) fn forest(&mut self, index: usize) -> Result<&mut Forest> {
        self.forests.get_mut(index).context("there are three forests")
    }

    /// What the tenant should hold now, computed by other means than the pipeline.
    pub(super) fn expected(&self) -> Holdings {
        oracle::expected(&self.forests.iter().map(Forest::reading).collect::<Vec<_>>())
    }

    /// Where the tenant differs from it.
    pub(super) fn differences_to(&self, expected: &Holdings) -> Vec<String> {
        oracle::differences(expected, &Holdings::of(&self.tenant.dump()), &oracle::managed_user_properties())
    }

    /// Where the tenant differs from what it should hold now.
    pub(super) fn differences(&self) -> Vec<String> {
        self.differences_to(&self.expected())
    }

    /// Users and groups in the tenant.
    pub(super) fn tenant_objects(&self) -> usize {
        let dump = self.tenant.dump();
        dump.users.len() + dump.groups.len()
    }

    /// How many writes the tenant has seen.
    pub(super) fn write_count(&self) -> usize {
        self.tenant.control().writes().len()
    }

    /// When the last write after the first `count` came.
    pub(super) fn last_write_since(&self, count: usize) -> Option<Instant> {
        self.tenant.control().writes().get(count..)?.iter().map(|w| w.at).max()
    }

    /// The unit of a forest that is out of scope, by its name now.
    pub(super) fn excluded_unit(forest: &Forest) -> Result<String> {
        let id = forest.exclude_ids.first().context("this forest excludes nothing")?;
        let objects = forest.objects();
        objects.into_iter().find(|o| o.guid == *id).map(|o| o.dn).context("the excluded unit is gone")
    }

    /// Stops everything.
    pub(super) async fn stop(self) -> Result<()> {
        for forest in self.forests {
            forest.peer.stop().await;
        }
        self.tenant.stop().await
    }
}
