import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import png

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def shared() -> Path:
    folder = Path(os.environ.get("VISIONSCOPE_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("needs the data folder that VISIONSCOPE_SHARED points to")
    return folder


@pytest.fixture
def class_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes `folder/<class>/<number>.png` for classes with so many images each."""

    def write(classes: dict[str, int], folder: str = "photos") -> Path:
        root = tmp_path / folder
        root.mkdir(parents=True, exist_ok=True)
        seed = 0
        for name, count in classes.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                (root / name / f"{number}.png").write_bytes(png(seed))
                seed += 1
        return root

    return write


@pytest.fixture
def parquet_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes one Parquet file with the given columns into `folder`."""

    def write(
        columns: dict[str, pa.Array | list],
        name: str = "test-00000-of-00001.parquet",
        folder: str = "rows",
        metadata: str | None = None,
        rows: int = 3,
    ) -> Path:
        root = tmp_path / folder
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        table = pa.table(columns)
        if metadata is not None:
            table = table.replace_schema_metadata({"huggingface": metadata})
        pq.write_table(table, root / name, row_group_size=rows)
        return root

    return write
