"""Microsoft's own Python SDK against a practice tenant: what it lists, writes, batches and follows must work.

    client.py REPORT

REPORT is what `forestsync practice tenant --json` printed. Prints one line per step; the first that fails ends it.
"""

import asyncio
import json
import sys
import uuid

import httpx
from azure.identity import ClientSecretCredential
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_abstractions.serialization import ParseNodeFactoryRegistry
from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
from msgraph import GraphServiceClient
from msgraph.generated.groups.item.members.members_request_builder import MembersRequestBuilder
from msgraph.generated.models.group import Group
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.models.password_profile import PasswordProfile
from msgraph.generated.models.reference_create import ReferenceCreate
from msgraph.generated.models.user import User
from msgraph.generated.users.delta.delta_request_builder import DeltaRequestBuilder
from msgraph.generated.users.users_request_builder import UsersRequestBuilder
from msgraph.graph_request_adapter import GraphRequestAdapter
from msgraph_core import GraphClientFactory
from msgraph_core.requests.batch_request_content import BatchRequestContent
from msgraph_core.requests.batch_request_item import BatchRequestItem
from msgraph_core.tasks.page_iterator import PageIterator

USERS = 45
PAGE = 20  # three pages, the last one not full
SELECT = ["id", "displayName", "userPrincipalName", "onPremisesImmutableId", "city"]


def connect(report):
    """The SDK's client, sent to the practice tenant and told to trust its certificate authority."""
    with open(report["client_secret_file"], encoding="utf-8") as file:
        secret = file.read().strip()
    graph, trusted = report["graph"].rstrip("/"), report["ca_file"]
    credential = ClientSecretCredential(
        report["tenant_id"],
        report["client_id"],
        secret,
        authority=report["authority"].rstrip("/"),
        disable_instance_discovery=True,
        connection_verify=trusted,
    )
    host = httpx.URL(graph).host
    authentication = AzureIdentityAuthenticationProvider(
        credential, scopes=[f"{graph}/.default"], allowed_hosts=[host]
    )
    http = GraphClientFactory.create_with_default_middleware(
        client=httpx.AsyncClient(verify=trusted, base_url=f"{graph}/v1.0", timeout=30)
    )
    adapter = GraphRequestAdapter(authentication, http)
    adapter.base_url = f"{graph}/v1.0"
    return GraphServiceClient(request_adapter=adapter), adapter


def new_user(number, domain):
    return User(
        account_enabled=True,
        display_name=f"User {number}",
        mail_nickname=f"user{number}",
        user_principal_name=f"user{number}@{domain}",
        on_premises_immutable_id=f"anchor-{number}==",
        password_profile=PasswordProfile(password=str(uuid.uuid4()), force_change_password_next_sign_in=False),
    )


async def collect(page, adapter):
    """Everything on this page and on those that follow, and how many pages they are."""
    found = []
    pages = 1
    iterator = PageIterator(page, adapter)

    async def counted():
        nonlocal pages
        following = await fetch()
        pages += following is not None
        return following

    fetch, iterator.next = iterator.next, counted
    await iterator.iterate(lambda item: found.append(item) or True)
    return found, pages


def listing(**options):
    parameters = UsersRequestBuilder.UsersRequestBuilderGetQueryParameters(**options)
    return RequestConfiguration(query_parameters=parameters)


async def users(client, adapter, domain):
    made = [await client.users.post(new_user(number, domain)) for number in range(USERS)]
    assert all(user.id for user in made)
    page = await client.users.get(request_configuration=listing(select=SELECT, top=PAGE))
    found, pages = await collect(page, adapter)
    ours = {user.id: user for user in found if user.on_premises_immutable_id}
    assert set(ours) == {user.id for user in made}, len(ours)
    assert pages == 3, pages
    one = listing(select=SELECT, filter="onPremisesImmutableId eq 'anchor-7=='")
    found = (await client.users.get(request_configuration=one)).value
    assert [user.display_name for user in found] == ["User 7"], found
    await client.users.by_user_id(made[7].id).patch(User(city="Bern"))
    found = (await client.users.get(request_configuration=one)).value
    assert found[0].city == "Bern", found
    await client.users.by_user_id(made[44].id).delete()
    print(f"users: {USERS} created, listed on {pages} pages, one found, updated, deleted")
    return made[:44]


async def groups(client, adapter, graph, people):
    names = [f"Group {number}" for number in range(3)]
    made = [
        await client.groups.post(
            Group(display_name=name, mail_enabled=False, mail_nickname=name.replace(" ", ""), security_enabled=True)
        )
        for name in names
    ]
    group = client.groups.by_group_id(made[0].id)
    for user in people[:25]:
        await group.members.ref.post(ReferenceCreate(odata_id=f"{graph}/v1.0/directoryObjects/{user.id}"))
    await group.members.by_directory_object_id(people[0].id).ref.delete()
    top = MembersRequestBuilder.MembersRequestBuilderGetQueryParameters(top=10)
    page = await group.members.get(request_configuration=RequestConfiguration(query_parameters=top))
    found, pages = await collect(page, adapter)
    assert {member.id for member in found} == {user.id for user in people[1:25]}, len(found)
    assert pages == 3, pages
    assert all(isinstance(member, User) for member in found), found[0]
    page = await client.groups.get()
    found, _ = await collect(page, adapter)
    assert {one.id for one in made} <= {one.id for one in found}
    await group.patch(Group(description="changed"))
    assert (await group.get()).description == "changed"
    await client.groups.by_group_id(made[2].id).delete()
    print(f"groups: 3 created, 25 members added, one removed, 24 listed on {pages} pages, updated, deleted")


async def batch(client, adapter, people):
    content = BatchRequestContent()
    asked = {}
    for user in people[:20]:
        item = BatchRequestItem(client.users.by_user_id(user.id).to_get_request_information())
        # the SDK leaves the whole address there, and Graph documents one relative to the version
        item.url = f"/users/{user.id}"
        content.add_request(item.id, item)
        asked[item.id] = user
    # the SDK's own reader of batches drops the bodies, so each is given to its reader of users
    request = await client.batch.to_post_request_information(content)
    answer = json.loads(await adapter.send_primitive_async(request, "bytes", {"XXX": ODataError}))
    answers = {one["id"]: one for one in answer["responses"]}
    assert set(answers) == set(asked), set(answers)
    for number, user in asked.items():
        assert answers[number]["status"] == 200, answers[number]
        body = json.dumps(answers[number]["body"]).encode()
        found = ParseNodeFactoryRegistry().get_root_parse_node("application/json", body).get_object_value(User)
        assert (found.id, found.display_name) == (user.id, user.display_name), answers[number]
    print(f"batch: {len(asked)} reads")


async def delta(client, people):
    select = DeltaRequestBuilder.DeltaRequestBuilderGetQueryParameters(select=["id", "displayName"])
    first = await client.users.delta.get(request_configuration=RequestConfiguration(query_parameters=select))

    async def follow(page):
        seen = {}
        while True:
            seen.update((user.id, user) for user in page.value or [])
            if page.odata_delta_link:
                return seen, page.odata_delta_link
            assert page.odata_next_link, "neither a next link nor a delta link"
            page = await client.users.delta.with_url(page.odata_next_link).get()

    seen, link = await follow(first)
    assert {user.id for user in people} <= set(seen), len(seen)
    await client.users.by_user_id(people[1].id).patch(User(display_name="Somebody else"))
    await client.users.by_user_id(people[2].id).delete()
    changed, _ = await follow(await client.users.delta.with_url(link).get())
    assert set(changed) == {people[1].id, people[2].id}, set(changed)
    assert changed[people[1].id].display_name == "Somebody else"
    assert changed[people[2].id].additional_data["@removed"]["reason"] == "changed"
    print(f"delta: {len(seen)} users, then 2 changes")


async def refused(client, domain, person):
    for attempt, status, code in [
        (client.users.by_user_id(str(uuid.uuid4())).get(), 404, "Request_ResourceNotFound"),
        (client.users.post(new_user(int(person.display_name.split()[1]), domain)), 400, "Request_BadRequest"),
    ]:
        try:
            await attempt
        except ODataError as error:
            assert (error.response_status_code, error.error.code) == (status, code), error
            assert error.error.inner_error.request_id, error
        else:
            raise AssertionError(f"{code} was expected")
    print("errors: both decoded, with code and request id")


async def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    client, adapter = connect(report)
    graph, domain = report["graph"].rstrip("/"), report["domains"][0]
    people = await users(client, adapter, domain)
    await groups(client, adapter, graph, people)
    await batch(client, adapter, people)
    await refused(client, domain, people[5])
    await delta(client, people)


asyncio.run(main())
