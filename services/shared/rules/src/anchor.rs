//! The source anchor.

use forestsync_domain::{Attributes, ObjectGuid, SourceAnchor};
pub use forestsync_schemas::decisions::AnchorBasis;

/// The anchor an object gets when it is first projected: ms-DS-ConsistencyGuid where it has one of sixteen bytes, else
/// its objectGUID. It is chosen once; the decision is kept even if the attribute changes later.
pub fn anchor(object: ObjectGuid, attributes: &Attributes) -> (SourceAnchor, AnchorBasis) {
    let consistency = attributes
        .get("mS-DS-ConsistencyGuid")
        .and_then(|values| values.first())
        .and_then(|value| ObjectGuid::from_slice(value.as_bytes()).ok());
    match consistency {
        Some(guid) => (SourceAnchor::from_guid(guid), AnchorBasis::ConsistencyGuid),
        None => (SourceAnchor::from_guid(object), AnchorBasis::ObjectGuid),
    }
}

#[cfg(test)]
mod tests {
    use forestsync_domain::AttributeValue;
    use proptest::prelude::*;

    use super::*;

    fn with(value: Vec<u8>) -> Attributes {
        Attributes::from([("mS-DS-ConsistencyGuid".into(), vec![AttributeValue::Binary(value)])])
    }

    #[test]
    fn other_lengths_are_no_guid() {
        let object = ObjectGuid::from_bytes([7; 16]);
        for length in [0, 1, 15, 17] {
            let (anchor, basis) = anchor(object, &with(vec![1; length]));
            assert_eq!((anchor.guid(), basis), (Ok(object), AnchorBasis::ObjectGuid), "{length}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(object in any::<[u8; 16]>(), consistency in any::<Option<[u8; 16]>>()) {
            let attributes = consistency.map(|bytes| with(bytes.to_vec())).unwrap_or_default();
            let (anchor, basis) = anchor(ObjectGuid::from_bytes(object), &attributes);
            prop_assert_eq!(anchor.guid(), Ok(ObjectGuid::from_bytes(consistency.unwrap_or(object))));
            prop_assert_eq!(basis == AnchorBasis::ConsistencyGuid, consistency.is_some());
        }
    }
}
