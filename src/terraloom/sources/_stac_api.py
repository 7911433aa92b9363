"""Asking a STAC API which items there are; what it answers is kept without anything secret."""

import datetime
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pystac
import pystac_client
from pystac.errors import STACError, STACTypeError
from pystac_client.conformance import ConformanceClasses
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from terraloom.errors import InputError
from terraloom.retrying import Transient
from terraloom.sources._area import Box

CLOUD_COVER: Final = "eo:cloud_cover"
_PAGE: Final = 100
_SHOWN: Final = 20
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500
_NOT_FOUND: Final = 404
_QUERY: Final = re.compile(r"\?[^\s'\"]*")
_ASSET_KEYS: Final = re.compile(
    r"href|type|roles|bands|eo:bands|raster:.*|proj:.*|data_type|nodata|unit|scale|offset"
)


@dataclass(frozen=True)
class Answer:
    """The items of one collection that a search found."""

    licence: str
    """As the collection states it: an SPDX name, "proprietary", "various" or "other"."""
    providers: tuple[str, ...]
    """Names of those who made or license the collection."""
    items: tuple[dict[str, Any], ...]
    """Item documents in the order of their ids; hrefs are absolute and bear no query string."""
    queries: dict[str, str]
    """Query strings (signatures) by href; kept in memory, never written."""


@dataclass(frozen=True)
class Question:
    """What is asked of an API."""

    url: str
    """Landing page."""
    collection: str
    boxes: tuple[Box, ...]
    """West, south, east, north in degrees; an item that touches one of them is wanted."""
    first: datetime.date
    last: datetime.date
    """Days in UTC, both included."""
    assets: frozenset[str]
    """Keys of the assets that are kept."""
    max_cloud: float = 100.0
    """Per cent of cloud; 100 asks for no limit. The caller checks the items himself as well, as
    not every API can be asked."""


def ask(question: Question, *, timeout_s: float) -> Answer:
    """Search page by page.

    Raises:
        Transient: the API did not answer, or answered with 429, 5xx or a torn page.
        InputError: it is no STAC API, it has no such collection, or it refuses the search.
    """
    with _asking(question.url):
        io = StacApiIO(timeout=timeout_s, max_retries=0)
        client = pystac_client.Client.open(question.url, stac_io=io)
        collection = _collection(client, question)
        items: dict[str, dict[str, Any]] = {}
        queries: dict[str, str] = {}
        for box in question.boxes:
            search = client.search(
                collections=[question.collection],
                bbox=box,
                datetime=f"{question.first}T00:00:00Z/{question.last}T23:59:59Z",
                limit=_PAGE,
                **_method_and_limits(client, question.max_cloud),
            )
            for document in search.items_as_dicts():
                items[str(document["id"])] = _kept(document, question.assets, queries)
        providers = [
            provider.name
            for provider in collection.providers or ()
            if {"producer", "licensor"} & {str(role) for role in provider.roles or ()}
        ]
        return Answer(
            licence=str(collection.license),
            providers=tuple(providers),
            items=tuple(items[name] for name in sorted(items)),
            queries=queries,
        )


def without_query(text: str) -> str:
    """A URL, or a message that holds URLs, without query strings: they may be signatures."""
    return _QUERY.sub("", text)


@contextmanager
def _asking(url: str) -> Iterator[None]:
    """Errors of the API, told apart: try again, or tell the user."""
    shown = without_query(url)
    try:
        yield
    except APIError as error:
        status = getattr(error, "status_code", None)
        text = without_query(str(error)).strip().splitlines()
        told = (text[0] if text else "no answer")[:300]
        if status is None or status == _TOO_MANY or status >= _SERVER_ERROR:
            what = "cannot be reached" if status is None else f"answers HTTP {status}"
            raise Transient(f"{shown} {what}: {told}") from error
        raise InputError(
            f"[sources.stac] {shown} answers HTTP {status}: {told}. Correct the url (the API's "
            "landing page) or what is asked of it."
        ) from error
    except json.JSONDecodeError as error:
        raise Transient(f"{shown} sent a torn or empty page: {error}") from error
    except (STACError, STACTypeError, NotImplementedError, KeyError) as error:
        raise InputError(
            f"[sources.stac] {shown} is no STAC API with item search: {error}. Give the landing "
            "page of one, such as https://earth-search.aws.element84.com/v1."
        ) from error


def _collection(client: pystac_client.Client, question: Question) -> pystac.Collection:
    try:
        collection = client.get_collection(question.collection)
    except APIError as error:
        if getattr(error, "status_code", None) != _NOT_FOUND:
            raise
        collection = None
    if collection is None:
        there = [c.id for c in itertools.islice(client.get_collections(), _SHOWN + 1)]
        more = ", …" if len(there) > _SHOWN else ""
        raise InputError(
            f"[sources.stac] {without_query(question.url)} has no collection "
            f"{question.collection!r}; there are {', '.join(there[:_SHOWN])}{more}."
        )
    return collection


def _method_and_limits(client: pystac_client.Client, max_cloud: float) -> dict[str, Any]:
    """How to send the search, and the cloud limit in a form that the API understands."""
    methods = {str(link.extra_fields.get("method", "GET")) for link in client.get_links("search")}
    if "POST" not in methods:
        return {"method": "GET"}
    if max_cloud >= 100 or not client.has_conforms_to():
        return {"method": "POST"}
    if client.conforms_to(ConformanceClasses.QUERY):
        return {"method": "POST", "query": {CLOUD_COVER: {"lte": max_cloud}}}
    if client.conforms_to(ConformanceClasses.FILTER):
        condition = {"op": "<=", "args": [{"property": CLOUD_COVER}, max_cloud]}
        return {"method": "POST", "filter": condition, "filter_lang": "cql2-json"}
    return {"method": "POST"}


def _kept(
    document: Mapping[str, Any], wanted: frozenset[str], queries: dict[str, str]
) -> dict[str, Any]:
    """The parts of an item that are used later."""
    base = next((link["href"] for link in document["links"] if link.get("rel") == "self"), None)
    assets = {}
    for key, asset in document["assets"].items():
        if key not in wanted:
            continue
        kept = {name: value for name, value in asset.items() if _ASSET_KEYS.fullmatch(name)}
        href = pystac.utils.make_absolute_href(str(asset["href"]), base)
        kept["href"] = without_query(href)
        if kept["href"] != href:
            queries[kept["href"]] = href.removeprefix(kept["href"])
        assets[key] = kept
    return {
        "type": "Feature",
        "stac_version": document["stac_version"],
        "stac_extensions": list(document.get("stac_extensions", ())),
        "id": str(document["id"]),
        "collection": document.get("collection"),
        "geometry": document["geometry"],
        "bbox": document.get("bbox"),
        "properties": {
            key: value
            for key, value in document["properties"].items()
            if isinstance(value, str | int | float | bool | list | None)
        },
        "links": [],
        "assets": assets,
    }
