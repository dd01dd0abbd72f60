package listen

func dataRows() []Program {
	return []Program{
		{Name: "Redis", Rule: "listen-redis", Ran: "Redis 7.0.15", Source: "redis.conf, bind", Keys: []string{"*redis*", "*valkey*", "*keydb*", "*sentinel*", "*.conf"},
			Gist: []string{"bind", "BIND"}, Files: each(redisFile),
			Names:  []string{"redis-server", "redis-sentinel", "valkey-server", "valkey-sentinel", "keydb-server"},
			Images: []string{"redis", "valkey", "keydb"}, Run: redisRun, Cases: redisCases},
		{Name: "PostgreSQL", Rule: "listen-postgresql", Ran: "PostgreSQL 15.18", Source: "postgresql.org/docs/current/auth-pg-hba-conf.html",
			Keys: []string{"*.conf", "*postgres*", "*pg_hba*"}, Gist: []string{"isten", "host"}, Files: each(postgresqlFile),
			Names: []string{"postgres"}, Images: []string{"postgres", "postgis", "timescaledb", "pgvector"}, Run: postgresqlRun, Cases: postgresqlCases},
		{Name: "PgBouncer", Rule: "listen-postgresql", Ran: "PgBouncer 1.18.0", Source: "pgbouncer.org/config.html", Keys: []string{"*.ini", "*pgbouncer*"},
			Gist: []string{"listen_addr"}, Files: each(pgbouncerFile), Images: []string{"pgbouncer"}, Run: pgbouncerRun, Cases: pgbouncerCases},
		{Name: "MySQL", Rule: "listen-mysql", Ran: "MariaDB 10.11.19", Source: "dev.mysql.com/doc/refman/8.4/en/server-system-variables.html",
			Keys: []string{"*.cnf*", "*.ini", "*.conf"}, Gist: []string{"bind", "Bind"}, Files: each(mysqlFile), Names: []string{"mysqld", "mariadbd", "mysqld_safe", "mariadbd-safe"},
			Images: []string{"mysql", "mariadb", "mysql-server", "percona-server", "percona"}, Run: mysqlRun, Cases: mysqlCases},
		{Name: "MongoDB", Rule: "listen-mongodb", Source: "mongodb.com/docs/manual/reference/configuration-options", Keys: []string{"*.conf", "*.cfg", "*.yaml", "*.yml"},
			Gist: []string{"bindIp"}, Files: each(mongodbFile), Names: []string{"mongod", "mongos"},
			Images: []string{"mongo", "mongodb-community-server", "percona-server-mongodb"}, Run: mongodbRun, Cases: mongodbCases},
		{Name: "Bitnami MongoDB", Rule: "listen-mongodb", Source: "github.com/bitnami/containers, mongodb", Any: true, Run: bitnamiMongodbRun, Cases: bitnamiMongodbCases},
		{Name: "memcached", Rule: "listen-memcached", Ran: "memcached 1.6.18", Names: []string{"memcached"}, Images: []string{"memcached"}, Run: memcachedRun, Cases: memcachedCases},
		{Name: "ClickHouse", Rule: "listen-clickhouse", Source: "programs/server/config.xml", Keys: []string{"*.xml", "*.yaml", "*.yml"}, Gist: []string{"listen_host"},
			Files: each(clickhouseFile), Cases: clickhouseCases},
		{Name: "RabbitMQ", Rule: "listen-message-broker", Ran: "RabbitMQ 3.10.8", Source: "rabbitmq.com/docs/networking", Keys: []string{"*.conf", "*rabbit*"},
			Gist: []string{"listeners.", ".ip"}, Files: each(rabbitFile), Names: []string{"rabbitmq-server"}, Images: []string{"rabbitmq"}, Run: rabbitRun, Cases: rabbitCases},
		{Name: "Mosquitto", Rule: "listen-message-broker", Ran: "Mosquitto 2.0.11", Source: "mosquitto.org/man/mosquitto-conf-5.html", Keys: []string{"*.conf", "*mosquitto*"},
			Gist: []string{"listener", "bind_address"}, Files: each(mosquittoFile), Cases: mosquittoCases},
		{Name: "EMQX", Rule: "listen-message-broker", Source: "docs.emqx.com, configuration/listener", Keys: []string{"*emqx*"}, Gist: []string{"bind"}, Files: each(emqxFile),
			Any: true, Run: emqxRun, Cases: emqxCases},
	}
}
