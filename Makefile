# For developers. No command of the README needs make.
check: lint types test

lint:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types:
	.venv/bin/mypy

test:
	scripts/test

.PHONY: check lint types test
