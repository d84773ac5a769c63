#!/usr/bin/python3
"""Extend a stopped forest's schema by the Exchange attributes that joins and mail-enabled objects need.

The object identifiers are of the arc that Microsoft's documentation gives to examples, not Exchange's own: what counts here
are names, syntaxes and where the attributes may stand.
"""

import argparse

import ldb
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB

ARC = "1.2.840.113556.1.8000.2554.999"
UNICODE = ("2.5.5.12", 64)
SID = ("2.5.5.17", 4)
OCTETS = ("2.5.5.10", 4)

# name, syntax, single-valued
ATTRIBUTES = [
    ("mailNickname", UNICODE, True),
    ("msExchMasterAccountSid", SID, True),
    ("msExchMailboxGuid", OCTETS, True),
    ("targetAddress", UNICODE, True),
    ("extensionAttribute1", UNICODE, True),
]
CLASSES = ["User", "Contact", "Group"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("conf")
    conf = parser.parse_args().conf
    lp = LoadParm()
    lp.load(conf)
    lp.set("dsdb:schema update allowed", "yes")
    sam = SamDB(session_info=system_session(), lp=lp)
    schema = str(sam.get_schema_basedn())
    for number, (name, (syntax, om_syntax), single) in enumerate(ATTRIBUTES, 1):
        sam.add({
            "dn": f"CN={name},{schema}",
            "objectClass": "attributeSchema",
            "lDAPDisplayName": name,
            "attributeID": f"{ARC}.{number}",
            "attributeSyntax": syntax,
            "oMSyntax": str(om_syntax),
            "isSingleValued": "TRUE" if single else "FALSE",
            "searchFlags": "0",
        })
    reload_schema(sam)
    for cls in CLASSES:
        change = ldb.Message(ldb.Dn(sam, f"CN={cls},{schema}"))
        change["mayContain"] = ldb.MessageElement([a[0] for a in ATTRIBUTES], ldb.FLAG_MOD_ADD, "mayContain")
        sam.modify(change)
    reload_schema(sam)


def reload_schema(sam):
    """Make what was added known at once."""
    change = ldb.Message(ldb.Dn(sam, ""))
    change["schemaUpdateNow"] = ldb.MessageElement("1", ldb.FLAG_MOD_ADD, "schemaUpdateNow")
    sam.modify(change)


main()
