"""Images in Parquet files, as datasets on the Hub store them: rows with the bytes of a file and its name."""

from pathlib import Path, PurePosixPath

from hra_workflow.core.errors import JobError
from hra_workflow.data import file_filters


def unpack(tables: list[Path], folder: Path) -> None:
    """Write the image of every row to a file that is named after its number, in the order of the tables and rows.

    Raises JobError unless every table has one column of images.
    """
    from pyarrow import parquet, types

    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for path in tables:
        table = parquet.read_table(path)
        columns = [
            one.name for one in table.schema if types.is_struct(one.type) and one.type.get_field_index("bytes") >= 0
        ]
        if len(columns) != 1:
            raise JobError(
                f"{path}: expected one column of images, with the fields bytes and path, found "
                f"{', '.join(columns) or 'none'} among {', '.join(table.column_names)}. Use another file."
            )
        found += table.column(columns[0]).to_pylist()
    for number, one in enumerate(found):
        suffix = PurePosixPath(one.get("path") or "").suffix.lower()
        name = f"{number:0{len(str(len(found)))}d}{suffix if suffix in file_filters.IMAGES else '.png'}"
        (folder / name).write_bytes(one["bytes"] or b"")
