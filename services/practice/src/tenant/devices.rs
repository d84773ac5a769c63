//! Devices: create, read and delete, where the tenant lets an application do so.
//!
//! Microsoft's page says that an application permission is not supported for creating a device (graph.md section 4), and
//! that is how a tenant begins.

use serde_json::{Value, json};
use uuid::Uuid;

use super::clock;
use super::context::{Ctx, Selection};
use super::directory::{Kind, Props};
use super::reply::{GraphError, Outcome, Reply};
use super::schema::DEVICE;
use super::validate::{self, Mode};

const REQUIRED: &[&str] = &[
    "accountEnabled",
    "alternativeSecurityIds",
    "deviceId",
    "displayName",
    "operatingSystem",
    "operatingSystemVersion",
];

impl Ctx<'_> {
    /// `POST /devices`: 201. The `deviceId` is unique.
    pub(super) fn create_device(&mut self) -> Outcome {
        let body = self.request.object()?;
        if let Some(missing) = REQUIRED.iter().find(|name| body.get(**name).is_none_or(Value::is_null)) {
            return Err(GraphError::required(missing, "Device"));
        }
        validate::check(DEVICE, "Device", &body, Mode::Create, &self.extension_names(Kind::Device))?;
        let mut props = validate::merge(DEVICE, &Props::new(), &body);
        let all = self.directory.listing(Kind::Device, false).values();
        let same =
            |id: &&Uuid| self.directory.get(**id).is_some_and(|o| o.props.get("deviceId") == props.get("deviceId"));
        if let Some(other) = all.into_iter().find(same) {
            return Err(GraphError::conflict("deviceId", "Device", *other));
        }
        let id = Uuid::new_v4();
        props.insert("registrationDateTime".into(), json!(clock::date_time_offset(clock::now())));
        let answer = self.whole("devices", Kind::Device, id, &props, &Selection::Default);
        self.directory.insert(id, Kind::Device, props, self.now);
        Ok(Reply::json(201, answer).wrote("device.create", id.to_string(), true))
    }

    /// `GET /devices/{id}`.
    pub(super) fn get_device(&self, name: &str) -> Outcome {
        let selection = self.selection(Kind::Device)?;
        let (id, _, props) = self.read(Kind::Device, name)?;
        let answer = self.whole("devices", Kind::Device, id, props, &selection);
        Ok(Reply::json(200, answer))
    }

    /// `DELETE /devices/{id}`: 204, gone for good (graph.md section 6).
    pub(super) fn delete_device(&mut self, name: &str) -> Outcome {
        let id = self.locate(Kind::Device, name).map_err(|e| e.without_effect(true))?;
        self.directory.purge(id, self.now);
        Ok(Reply::no_content().wrote("device.delete", id.to_string(), true))
    }
}
