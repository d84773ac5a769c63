//! LDAP add: what a client gives, what the directory fills in, and what it refuses.

use std::collections::BTreeSet;

use ldap3_proto::LdapResultCode as Rc;

use super::dn;
use super::object::{Attr, Birth, Context, Id};
use super::schema::{
    ACCOUNT_EXPIRES, AttrId, CN, CODE_PAGE, COUNTRY_CODE, ClassId, DC, GROUP_TYPE, Kind, NAME, OBJECT_CATEGORY,
    OBJECT_CLASS, OBJECT_SID, OU, PASSWORD_PARTS, PRIMARY_GROUP_ID, PWD_LAST_SET, SAM_ACCOUNT_NAME, SAM_ACCOUNT_TYPE,
    Syntax, USER_ACCOUNT_CONTROL, schema,
};
use super::store::{Refusal, Store};
use super::text;

/// What a write needs from outside the store: fresh identifiers and the time.
#[derive(Debug)]
pub(crate) struct Outside<'a> {
    pub(crate) random: &'a mut rand_chacha::ChaCha8Rng,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

impl Outside<'_> {
    /// A new random GUID.
    pub(crate) fn guid(&mut self) -> [u8; 16] {
        use rand::RngExt as _;
        self.random.random()
    }
}

/// An attribute as it comes from the wire.
pub(crate) type Given = (String, Vec<Vec<u8>>);

/// The longest name of an object (rangeUpper of `cn`).
const NAME_CHARS_MAX: usize = 64;

impl Store {
    /// Adds an object. Result codes as AD gives them: 34 bad DN, 32 no parent, 64 wrong naming attribute, 65 wrong or
    /// missing class, 68 taken, 16 unknown attribute, 19 against a constraint.
    pub(crate) fn add(&mut self, dn: &str, given: &[Given], out: &mut Outside<'_>) -> Result<Id, Refusal> {
        let (parent, step) = self.place_for(dn)?;
        let class = class_of(given)?;
        if !class.get().rdn.label().eq_ignore_ascii_case(&step.kind) {
            return Err(Refusal::new(
                Rc::NamingViolation,
                format!("{} cannot name a {}", step.kind, class.get().name()),
            ));
        }
        check_name(&step.value)?;
        if self.child(parent, &step.value).is_some() {
            return Err(Refusal::new(Rc::EntryAlreadyExists, format!("entry {dn} already exists")));
        }
        let mut links = Vec::new();
        let mut attrs = self.collect(class, given, &mut links, out)?;
        self.fill_in(class, &mut attrs, out)?;
        let usn = self.next_usn();
        for attr in &mut attrs {
            attr.usn = usn;
        }
        let birth = Birth {
            guid: out.guid(),
            parent,
            context: self.get(parent).context,
            class,
            name: step.value,
            usn,
            now: out.now,
        };
        let id = self.insert(birth, &attrs);
        for (attr, target) in links {
            self.link(id, attr, target, true, usn);
        }
        Ok(id)
    }

    /// The existing, live parent and the new leaf step of a DN.
    pub(crate) fn place_for(&self, dn: &str) -> Result<(Id, dn::RdnText), Refusal> {
        let bad = || Refusal::new(Rc::InvalidDNSyntax, format!("invalid DN syntax: {dn:?}"));
        let mut steps = dn::parse(dn).ok_or_else(bad)?;
        if steps.is_empty() {
            return Err(bad());
        }
        let leaf = steps.remove(0);
        let parent =
            steps.iter().map(|s| format!("{}={}", s.kind, dn::escape_rdn(&s.value))).collect::<Vec<_>>().join(",");
        match self.resolve(&parent)? {
            Some(id) if !self.is_marked_deleted(id) => Ok((id, leaf)),
            _ => Err(Refusal::new(Rc::NoSuchObject, format!("0000208D: no such object: {parent}"))),
        }
    }

    /// Checks what the client gave and splits it into stored attributes and link targets.
    fn collect(
        &mut self,
        class: ClassId,
        given: &[Given],
        links: &mut Vec<(AttrId, Id)>,
        out: &mut Outside<'_>,
    ) -> Result<Vec<Attr>, Refusal> {
        let mut attrs: Vec<Attr> = Vec::with_capacity(given.len() + 8);
        let mut seen = BTreeSet::new();
        for (name, values) in given {
            let id = writable(name)?;
            if matches!(id, OBJECT_CLASS | OBJECT_CATEGORY | NAME | CN | OU | DC) {
                continue;
            }
            if !seen.insert(id) {
                return Err(Refusal::new(Rc::AttributeOrValueExists, format!("attribute {name} is given twice")));
            }
            if values.is_empty() {
                return Err(Refusal::new(Rc::ConstraintViolation, format!("attribute {name} has no value")));
            }
            let def = schema().def(id);
            check_values(id, values)?;
            match def.syntax {
                Syntax::Link => {
                    for value in values {
                        let target = self.link_target(name, value, out)?;
                        if links.contains(&(id, target)) && values.len() < 1000 {
                            return Err(Refusal::new(
                                Rc::AttributeOrValueExists,
                                format!("{name} names one object twice"),
                            ));
                        }
                        links.push((id, target));
                    }
                }
                _ if def.kind == Kind::Secret => {
                    let file_time = text::file_time(out.now).to_string().into_bytes();
                    attrs.extend(PASSWORD_PARTS.iter().map(|id| Attr { id: *id, usn: 0, values: vec![] }));
                    attrs.push(Attr { id: PWD_LAST_SET, usn: 0, values: vec![file_time] });
                }
                _ => attrs.push(Attr { id, usn: 0, values: values.clone() }),
            }
        }
        if class.get().is("group") && !attrs.iter().any(|a| a.id == GROUP_TYPE) {
            attrs.push(text_attr(GROUP_TYPE, "-2147483646"));
        }
        links.sort_unstable();
        links.dedup();
        Ok(attrs)
    }

    /// The values that the directory gives to every new object of a class.
    fn fill_in(&mut self, class: ClassId, attrs: &mut Vec<Attr>, out: &mut Outside<'_>) -> Result<(), Refusal> {
        attrs.push(Attr { id: OBJECT_CATEGORY, usn: 0, values: vec![vec![class.0]] });
        if !class.get().principal {
            return Ok(());
        }
        self.account_name(class, attrs, out)?;
        if class.get().is("user") {
            let computer = class.get().is("computer");
            for (id, value) in [
                (USER_ACCOUNT_CONTROL, if computer { "4096" } else { "546" }),
                (PRIMARY_GROUP_ID, if computer { "515" } else { "513" }),
                (PWD_LAST_SET, "0"),
                (ACCOUNT_EXPIRES, "9223372036854775807"),
                (CODE_PAGE, "0"),
                (COUNTRY_CODE, "0"),
            ] {
                if !attrs.iter().any(|a| a.id == id) {
                    attrs.push(text_attr(id, value));
                }
            }
        }
        let kind = account_type(class, number_of(attrs, GROUP_TYPE));
        attrs.push(text_attr(SAM_ACCOUNT_TYPE, &kind.to_string()));
        let sid = text::sid_below(&self.names.domain_sid, self.next_rid);
        self.next_rid += 1;
        attrs.push(Attr { id: OBJECT_SID, usn: 0, values: vec![sid] });
        Ok(())
    }

    fn account_name(&self, class: ClassId, attrs: &mut Vec<Attr>, out: &mut Outside<'_>) -> Result<(), Refusal> {
        let given = attrs.iter().find(|a| a.id == SAM_ACCOUNT_NAME).and_then(|a| a.values.first());
        if let Some(name) = given {
            let name = String::from_utf8_lossy(name);
            return self.check_account_name(&name, None);
        }
        let random = text::hex(&out.guid()).to_uppercase();
        let (first, second) = (random.get(..6).unwrap_or_default(), random.get(6..18).unwrap_or_default());
        let mark = if class.get().is("computer") { "$" } else { "" };
        attrs.push(text_attr(SAM_ACCOUNT_NAME, &format!("${first}-{second}{mark}")));
        Ok(())
    }

    /// Refuses a sAMAccountName that another object has, or that no account may have.
    pub(crate) fn check_account_name(&self, name: &str, owner: Option<Id>) -> Result<(), Refusal> {
        if name.is_empty()
            || name.chars().count() > 256
            || name.contains(['"', '/', '\\', '[', ']', ':', ';', '|', '='])
        {
            return Err(Refusal::new(Rc::ConstraintViolation, format!("sAMAccountName {name:?} is not allowed")));
        }
        match self.by_account(name) {
            Some(id) if Some(id) != owner => Err(Refusal::new(
                Rc::EntryAlreadyExists,
                format!("00000524: sAMAccountName {name:?} is already in use"),
            )),
            _ => Ok(()),
        }
    }

    /// The live object that a link value names. `<SID=…>` of an unknown principal makes a foreign security principal.
    pub(crate) fn link_target(&mut self, attr: &str, value: &[u8], out: &mut Outside<'_>) -> Result<Id, Refusal> {
        let bad = || Refusal::new(Rc::InvalidDNSyntax, format!("a value of {attr} is not a DN"));
        let text = std::str::from_utf8(value).map_err(|_| bad())?;
        match self.resolve(text)? {
            Some(id) if !self.get(id).deleted => Ok(id),
            Some(_) => Err(Refusal::new(Rc::NoSuchObject, format!("a value of {attr} names a deleted object"))),
            None => {
                if let Some(sid) = foreign_sid(text) {
                    return self.add_foreign(sid, out);
                }
                let member = attr.eq_ignore_ascii_case("member");
                let code = if member { Rc::NoSuchObject } else { Rc::ConstraintViolation };
                Err(Refusal::new(code, format!("a value of {attr} names no object: {text}")))
            }
        }
    }

    /// Makes the foreign security principal of a SID.
    pub(crate) fn add_foreign(&mut self, sid: Vec<u8>, out: &mut Outside<'_>) -> Result<Id, Refusal> {
        let class = ClassId::named("foreignSecurityPrincipal")
            .ok_or_else(|| Refusal::new(Rc::Other, "the schema lacks foreignSecurityPrincipal"))?;
        let usn = self.next_usn();
        let birth = Birth {
            guid: out.guid(),
            parent: self.landmarks.foreign,
            context: Context::Domain,
            class,
            name: text::sid(&sid),
            usn,
            now: out.now,
        };
        let attrs = [
            Attr { id: OBJECT_SID, usn, values: vec![sid] },
            Attr { id: OBJECT_CATEGORY, usn, values: vec![vec![class.0]] },
        ];
        Ok(self.insert(birth, &attrs))
    }
}

fn foreign_sid(text: &str) -> Option<Vec<u8>> {
    let inner = text.trim().strip_prefix('<')?.split_once('>')?.0;
    let (kind, value) = inner.split_once('=')?;
    if kind.eq_ignore_ascii_case("SID") { text::parse_sid(value) } else { None }
}

fn class_of(given: &[Given]) -> Result<ClassId, Refusal> {
    let refused = |message: &str| Refusal::new(Rc::ObjectClassViolation, message);
    let (_, values) = given
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("objectClass"))
        .ok_or_else(|| refused("no objectClass is given"))?;
    let names = values.iter().map(|v| std::str::from_utf8(v).unwrap_or_default());
    ClassId::of_values(names).ok_or_else(|| refused("the given objectClass values make no structural class"))
}

/// Refuses a name that no object can have.
pub(crate) fn check_name(name: &str) -> Result<(), Refusal> {
    if name.chars().count() > NAME_CHARS_MAX || name.contains(['\n', '\0']) {
        return Err(Refusal::new(Rc::ConstraintViolation, format!("a name has at most {NAME_CHARS_MAX} characters")));
    }
    Ok(())
}

/// The attribute of that name, when clients may write it.
pub(crate) fn writable(name: &str) -> Result<AttrId, Refusal> {
    let id = schema().find(name).ok_or_else(|| {
        Refusal::new(Rc::NoSuchAttribute, format!("attribute {name:?} is not in the schema of this forest"))
    })?;
    let def = schema().def(id);
    let naming = matches!(id, OBJECT_CLASS | OBJECT_CATEGORY | NAME | CN | OU | DC);
    if !naming && matches!(def.kind, Kind::System | Kind::Local) {
        return Err(Refusal::new(Rc::UnwillingToPerform, format!("attribute {name} is kept by the directory itself")));
    }
    Ok(id)
}

/// Refuses values that their attribute cannot have.
pub(crate) fn check_values(id: AttrId, values: &[Vec<u8>]) -> Result<(), Refusal> {
    let def = schema().def(id);
    if def.single && values.len() > 1 {
        return Err(Refusal::new(Rc::ConstraintViolation, format!("attribute {} takes one value", def.name)));
    }
    for value in values {
        let text = std::str::from_utf8(value);
        let fits = match def.syntax {
            Syntax::Integer => text.is_ok_and(|t| t.parse::<i64>().is_ok()),
            Syntax::Boolean => text.is_ok_and(|t| matches!(t, "TRUE" | "FALSE")),
            Syntax::Octets => true,
            _ => text.is_ok_and(|t| !t.is_empty()),
        };
        if !fits {
            let message = format!("a value of {} does not have its syntax", def.name);
            return Err(Refusal::new(Rc::InvalidAttributeSyntax, message));
        }
    }
    Ok(())
}

/// An attribute with one text value, its USN to be set.
pub(crate) fn text_attr(id: AttrId, value: &str) -> Attr {
    Attr { id, usn: 0, values: vec![value.as_bytes().to_vec()] }
}

/// The first value of an attribute as a number.
pub(crate) fn number_of(attrs: &[Attr], id: AttrId) -> Option<i64> {
    let value = attrs.iter().find(|a| a.id == id)?.values.first()?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// sAMAccountType (MS-SAMR 2.2.1.9) from the class and, for groups, groupType: bit 31 says security, bit 2 says
/// domain local, bit 0 built-in.
pub(crate) fn account_type(class: ClassId, group_type: Option<i64>) -> i64 {
    let class = class.get();
    if class.is("computer") {
        return 805_306_369;
    }
    if class.is("user") {
        return 805_306_368;
    }
    let bits = group_type.unwrap_or(-2_147_483_646);
    match (bits & 0x8000_0000 != 0, bits & 5 != 0) {
        (true, false) => 268_435_456,
        (false, false) => 268_435_457,
        (true, true) => 536_870_912,
        (false, true) => 536_870_913,
    }
}
