"""A small STAC API over files that a test writes: search with paging, range requests, faults."""

import datetime
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from tests.sources import tile_server
from tests.sources.tile_server import TileServer

CONFORMANCE = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
]
QUERY = "https://api.stacspec.org/v1.0.0/item-search#query"
FILTER = "https://api.stacspec.org/v1.0.0/item-search#filter"


@dataclass
class Archive:
    """What the server knows, and what it was asked."""

    folder: Path
    items: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Item documents by collection; hrefs of assets are file names below `folder`."""
    page_size: int = 100
    conformance: list[str] = field(default_factory=lambda: [*CONFORMANCE, QUERY])
    methods: tuple[str, ...] = ("GET", "POST")
    faults: dict[str, list[int]] = field(default_factory=dict)
    """Status codes by path that the next requests get, one each."""
    requests: list[str] = field(default_factory=list)
    searches: list[dict[str, Any]] = field(default_factory=list)
    signature: str = ""
    """Query string that assets are handed out with; `files` may ask for it."""
    base: str = ""
    files: TileServer | None = None
    """The server of the folder."""

    def fault(self, path: str) -> int | None:
        """Note a request; the status that it is to fail with, or None."""
        self.requests.append(path)
        waiting = self.faults.get(path, [])
        return waiting.pop(0) if waiting else None

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/")
        def landing() -> dict[str, Any]:
            links = [
                {"rel": "self", "href": f"{self.base}/"},
                {"rel": "root", "href": f"{self.base}/"},
                {"rel": "data", "href": f"{self.base}/collections"},
                {"rel": "conformance", "href": f"{self.base}/conformance"},
                *(
                    {
                        "rel": "search",
                        "href": f"{self.base}/search",
                        "method": method,
                        "type": "application/geo+json",
                    }
                    for method in self.methods
                ),
            ]
            return {
                "type": "Catalog",
                "stac_version": "1.0.0",
                "id": "test",
                "description": "test",
                "conformsTo": self.conformance,
                "links": links,
            }

        @app.get("/collections")
        def collections() -> dict[str, Any]:
            return {"collections": [self.collection(name) for name in self.items], "links": []}

        @app.get("/collections/{name}")
        def collection(name: str) -> dict[str, Any]:
            if name not in self.items:
                raise HTTPException(404, "no such collection")
            return self.collection(name)

        @app.get("/search")
        def get_search(
            collections: str,
            bbox: str,
            datetime: str,
            limit: int = 10,
            token: int = 0,
        ) -> dict[str, Any]:
            if "GET" not in self.methods:
                raise HTTPException(405)
            asked = {
                "collections": collections.split(","),
                "bbox": [float(v) for v in bbox.split(",")],
                "datetime": datetime,
                "limit": limit,
                "token": token,
            }
            page, following = self.page(asked)
            links = []
            if following is not None:
                href = (
                    f"{self.base}/search?collections={collections}&bbox={bbox}"
                    f"&datetime={datetime}&limit={limit}&token={following}"
                )
                links = [{"rel": "next", "href": href, "method": "GET"}]
            return {"type": "FeatureCollection", "features": page, "links": links}

        @app.post("/search")
        async def post_search(request: Request) -> dict[str, Any]:
            if "POST" not in self.methods:
                raise HTTPException(405)
            asked = await request.json()
            page, following = self.page(asked)
            links = []
            if following is not None:
                body = asked | {"token": following}
                links = [
                    {"rel": "next", "href": f"{self.base}/search", "method": "POST", "body": body}
                ]
            return {"type": "FeatureCollection", "features": page, "links": links}

        return app

    def collection(self, name: str) -> dict[str, Any]:
        return {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": name,
            "description": name,
            "license": "CC-BY-4.0",
            "providers": [{"name": f"makers of {name}", "roles": ["producer"]}],
            "extent": {
                "spatial": {"bbox": [[-180, -90, 180, 90]]},
                "temporal": {"interval": [[None, None]]},
            },
            "links": [{"rel": "self", "href": f"{self.base}/collections/{name}"}],
        }

    def page(self, asked: dict[str, Any]) -> tuple[list[dict[str, Any]], int | None]:
        self.searches.append(asked)
        found = [
            item
            for name in asked["collections"]
            for item in self.items.get(name, [])
            if _wanted(item, asked)
        ]
        start = int(asked.get("token") or 0)
        stop = start + min(self.page_size, int(asked.get("limit", 10)))
        following = stop if stop < len(found) else None
        return [self.served(item) for item in found[start:stop]], following

    def served(self, item: dict[str, Any]) -> dict[str, Any]:
        assert self.files is not None
        mark = f"?{self.signature}" if self.signature else ""
        assets = {
            key: asset | {"href": f"{self.files.address()}/{asset['href']}{mark}"}
            if self.base and not asset["href"].startswith("/")
            else asset
            for key, asset in item["assets"].items()
        }
        self_link = f"{self.base}/collections/{item['collection']}/items/{item['id']}"
        return item | {"assets": assets, "links": [{"rel": "self", "href": self_link}]}


class _Faults:
    """Notes every request to the API, and answers some with a fault."""

    def __init__(self, archive: Archive, app: FastAPI) -> None:
        self.archive = archive
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            status = self.archive.fault(scope["path"])
            if status is not None:
                headers = {"Retry-After": "0"} if status == 429 else {}
                await JSONResponse({"detail": "fault"}, status, headers)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _wanted(item: dict[str, Any], asked: dict[str, Any]) -> bool:
    properties = item["properties"]
    west, south, east, north = asked["bbox"]
    x0, y0, x1, y1 = item["bbox"]
    if x1 < west or x0 > east or y1 < south or y0 > north:
        return False
    first, last = (_moment(text) for text in asked["datetime"].split("/"))
    begin = _moment(properties.get("start_datetime") or properties["datetime"])
    end = _moment(properties.get("end_datetime") or properties["datetime"])
    if end < first or begin > last:
        return False
    cloud = properties.get("eo:cloud_cover")
    if "query" in asked:
        return bool(cloud is not None and cloud <= asked["query"]["eo:cloud_cover"]["lte"])
    if "filter" in asked:
        assert asked["filter"]["op"] == "<="
        assert asked["filter-lang"] == "cql2-json"
        return bool(cloud is not None and cloud <= asked["filter"]["args"][1])
    return True


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


@contextmanager
def serving(archive: Archive) -> Iterator[str]:
    """Serve an archive on a free port; yields the landing page's address."""
    config = uvicorn.Config(
        _Faults(archive, archive.app()), host="127.0.0.1", port=0, log_level="error"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    archive.base = f"http://127.0.0.1:{port}"
    try:
        with tile_server.serving(archive.folder) as files:
            archive.files = files
            yield archive.base
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def write_raster(
    path: Path,
    pixels: np.ndarray,
    epsg: int,
    transform: tuple[float, ...],
    *,
    nodata: float | None = None,
) -> None:
    """Write "height width" as a cloud-optimised GeoTIFF with 128-pixel blocks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="COG",
        count=1,
        height=pixels.shape[0],
        width=pixels.shape[1],
        dtype=pixels.dtype,
        crs=f"EPSG:{epsg}",
        transform=rasterio.transform.Affine(*transform),
        nodata=nodata,
        blocksize=128,
        overviews="NONE",
    ) as file:
        file.write(pixels[None])


def footprint(epsg: int, bounds: tuple[float, float, float, float]) -> dict[str, Any]:
    """Geometry and bbox in degrees of bounds in a CRS."""
    west, south, east, north = bounds
    to_lonlat = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)
    ring = [
        to_lonlat.transform(x, y)
        for x, y in ((west, south), (east, south), (east, north), (west, north), (west, south))
    ]
    lons, lats = zip(*ring, strict=True)
    return {
        "geometry": {"type": "Polygon", "coordinates": [[list(point) for point in ring]]},
        "bbox": [min(lons), min(lats), max(lons), max(lats)],
    }
