use std::path::Path;

use forestsync_runtime::config::Findings;

use super::{TenantForm, TenantSettings};
use crate::config::Joins;
use crate::credential::Credential;

/// The settings of a tenant's table, or what is wrong with it, where the environment is this.
fn read(lines: &str, variables: &[(&str, &str)]) -> Result<TenantSettings, String> {
    let form: TenantForm = toml::from_str(lines).unwrap();
    let mut found = Findings::default();
    let var = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    let settings = TenantSettings::check_where("tenant", &form, Path::new("/etc"), var, &mut found);
    found.into_result(Path::new("file"), settings).map_err(|error| error.to_string())
}

const WRITTEN: &str = "tenant_id = \"contoso.example\"\nclient_id = \"app\"\n";

#[test]
fn every_cloud_has_its_endpoints() {
    let of = |cloud: &str| {
        let settings = read(&format!("{WRITTEN}client_secret_file = \"s\"\n{cloud}"), &[]).unwrap();
        (settings.authority.to_string(), settings.graph.to_string())
    };
    let pair = |authority: &str, graph: &str| (format!("https://{authority}/"), format!("https://{graph}/"));
    let global = pair("login.microsoftonline.com", "graph.microsoft.com");
    assert_eq!(of(""), global);
    assert_eq!(of("cloud = \"global\""), global);
    assert_eq!(of("cloud = \"us-gov\""), pair("login.microsoftonline.us", "graph.microsoft.us"));
    assert_eq!(of("cloud = \"us-dod\""), pair("login.microsoftonline.us", "dod-graph.microsoft.us"));
    let china = pair("login.partner.microsoftonline.cn", "microsoftgraph.chinacloudapi.cn");
    assert_eq!(of("cloud = \"china\""), china);
    let custom = "cloud = { authority = \"https://localhost:1\", graph = \"https://localhost:2\" }";
    assert_eq!(of(custom), pair("localhost:1", "localhost:2"));
}

#[test]
fn a_workload_takes_from_the_environment_what_is_not_written() {
    let variables = [
        ("AZURE_TENANT_ID", "of-the-environment"),
        ("AZURE_CLIENT_ID", "its-app"),
        ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/"),
    ];
    let workload = "credential = \"workload_identity\"\n";
    let settings = read(workload, &variables).unwrap();
    assert_eq!((settings.tenant_id.as_str(), settings.client_id.as_str()), ("of-the-environment", "its-app"));
    assert_eq!(settings.authority.as_str(), "https://login.microsoftonline.us/");
    assert_eq!(settings.graph.as_str(), "https://graph.microsoft.us/");
    let settings = read(&format!("{WRITTEN}{workload}cloud = \"global\""), &variables).unwrap();
    assert_eq!((settings.tenant_id.as_str(), settings.client_id.as_str()), ("contoso.example", "app"));
    assert_eq!(settings.authority.as_str(), "https://login.microsoftonline.com/");
    let china =
        read(workload, &[variables[0], variables[1], ("AZURE_AUTHORITY_HOST", "https://login.chinacloudapi.cn")]);
    assert_eq!(china.unwrap().graph.as_str(), "https://microsoftgraph.chinacloudapi.cn/");
    let said = read(workload, &[("AZURE_AUTHORITY_HOST", "https://login.example")]).unwrap_err();
    for part in ["AZURE_TENANT_ID is not set", "AZURE_CLIENT_ID is not set", "AZURE_AUTHORITY_HOST names"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // nobody else takes anything from it
    let said = read("client_secret_file = \"s\"", &variables).unwrap_err();
    assert!(said.contains("tenant.tenant_id: is missing") && said.contains("tenant.client_id: is missing"), "{said}");
    let settings = read(&format!("{WRITTEN}client_secret_file = \"s\""), &variables).unwrap();
    assert_eq!(settings.authority.as_str(), "https://login.microsoftonline.com/");
}

#[test]
fn a_tenant_has_one_credential() {
    let kind = |lines: &str| read(&format!("{WRITTEN}{lines}"), &[]).map(|settings| settings.credential);
    assert!(matches!(kind("client_secret_env = \"S\""), Ok(Credential::Secret { .. })));
    let one_file = kind("certificate_file = \"c.pem\"").unwrap();
    let Credential::Certificate { certificate, key } = one_file else { panic!("{one_file:?}") };
    assert_eq!((certificate.as_path(), key.as_path()), (Path::new("/etc/c.pem"), Path::new("/etc/c.pem")));
    assert!(matches!(kind("federated_token_file = \"t\""), Ok(Credential::WorkloadIdentity { token: Some(_) })));
    assert!(matches!(kind("credential = \"managed_identity\""), Ok(Credential::ManagedIdentity { endpoint: None })));
    let endpoint = kind("managed_identity_endpoint = \"http://127.0.0.1:40\"");
    assert!(matches!(endpoint, Ok(Credential::ManagedIdentity { endpoint: Some(_) })));
    for (lines, part) in [
        ("", "tenant.credential: is missing"),
        ("credential = \"certificate\"", "tenant.certificate_file: is missing"),
        ("private_key_file = \"k\"", "tenant.certificate_file: is missing"),
        ("client_secret_file = \"s\"\ncertificate_file = \"c\"", "both client_secret_file and certificate_file"),
        ("credential = \"managed_identity\"\nclient_secret_file = \"s\"", "is \"managed_identity\", and client_secret"),
        ("managed_identity_endpoint = \"http://h/path\"", "tenant.managed_identity_endpoint"),
        ("managed_identity_endpoint = \"169.254.169.254\"", "tenant.managed_identity_endpoint"),
    ] {
        let said = kind(lines).unwrap_err();
        assert!(said.contains(part), "{lines}: {said}");
    }
    assert!(read("tenant_id = \"contoso.example\"\ncredential = \"managed_identity\"", &[]).is_ok());
}

#[test]
fn an_initial_password_is_long_enough_to_be_random() {
    let of = |lines: &str| {
        let written = format!("{WRITTEN}client_secret_file = \"s\"\n{lines}");
        read(&written, &[]).map(|settings| (settings.initial_password.length, settings.initial_password.force_change))
    };
    assert_eq!(of(""), Ok((36, true)));
    assert_eq!(of("[initial_password]\nforce_change = false"), Ok((36, false)));
    assert_eq!(of("[initial_password]\nlength = 256"), Ok((256, true)));
    for length in [0, 8, 15, 257] {
        let said = of(&format!("[initial_password]\nlength = {length}")).unwrap_err();
        assert!(said.contains("tenant.initial_password.length: is not between 16 and 256"), "{said}");
    }
}

#[test]
fn what_is_found_by_attributes_is_checked() {
    let written = |more: &str| read(&format!("{WRITTEN}client_secret_file = \"s\"\n{more}"), &[]);
    let app = "extension_app = \"2b9d4e60-81c7-4f35-a0be-6d1f7c92e483\"\n\
               extension_app_object = \"5d0c2b1e-7f3a-4c69-8a51-0f9e6b7c8d21\"\n";
    let pair = "{ wished = \"displayName\", cloud = \"mailNickname\" }";
    let settings = written(&format!("group_match = [\"displayName\", {pair}]\njoins = \"hold\"\n{app}")).unwrap();
    let by: Vec<&str> = settings.group_match.iter().map(|rule| rule.cloud.as_str()).collect();
    assert_eq!((by, settings.joins), (vec!["displayName", "mailNickname"], Joins::Hold));
    assert_eq!(written("").unwrap().joins, Joins::Go);
    for (keys, said) in [
        ("group_match = [\"mailNickname\"]", "tenant.group_match: needs an application"),
        (&format!("group_match = [\"upn\"]\n{app}"), "no group is found by \"userPrincipalName\""),
        ("joins = \"hold\"", "tenant.joins: has nothing to hold"),
    ] {
        let error = written(keys).unwrap_err();
        assert!(error.contains(said) && !error.contains("hint: \n"), "{said}: {error}");
    }
}
