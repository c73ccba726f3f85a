"""ipyparallel's SQLite database, opened again after a restart."""

from __future__ import annotations

from ipyparallel.controller.sqlitedb import SQLiteDB


class ResultsDB(SQLiteDB):  # type: ignore[misc]  # ipyparallel has no types
    """SQLiteDB that knows its own table again.

    ipyparallel 9.2 compares the names of column types with those that SQLite gives back, letter
    for letter; newer versions of SQLite write some of them in capitals, so that every start made
    a new table and all results of before were lost to clients.
    """

    def _check_table(self) -> bool:
        lines = self._db.execute(f"PRAGMA table_info('{self.table}')").fetchall()
        return not lines or [line[1] for line in lines] == self._keys
