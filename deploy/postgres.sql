-- Run once by the image of PostgreSQL, when it has made an empty cluster: a role and a database for the server.
-- Not a superuser: that one reads files and starts programs, and the server needs neither.

\getenv password POSTGRES_PASSWORD
CREATE ROLE deerflow LOGIN PASSWORD :'password';
CREATE DATABASE deerflow OWNER deerflow;

-- The image gave the same password to its superuser. Without one that role cannot be used from outside the container.
ALTER ROLE postgres PASSWORD NULL;
