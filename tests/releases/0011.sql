BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0011');
CREATE TABLE api_keys (
	id CHAR(32) NOT NULL, 
	user_id CHAR(32) NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	hint VARCHAR(16) NOT NULL, 
	key_digest VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	used_at DATETIME, 
	revoked_at DATETIME, 
	CONSTRAINT pk_api_keys PRIMARY KEY (id), 
	CONSTRAINT fk_api_keys_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT uq_api_keys_key_digest UNIQUE (key_digest)
);
INSERT INTO "api_keys" VALUES('7c4e086eafe0461985f0fc4ea79d62b1','b561cc4237364cc9981f1aa9ecb0d30c','','chat_ddCv…','ea30838d17554d6a8f43d22154c86110d76f2df37892f58dd6716bc5dfb79437','2026-11-26 23:08:46.488616','2026-11-26 23:08:46.508898',NULL);
CREATE TABLE budget_notices (
	user_id CHAR(32) NOT NULL, 
	period_start DATETIME NOT NULL, 
	percent INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	seen_at DATETIME, 
	CONSTRAINT pk_budget_notices PRIMARY KEY (user_id, period_start, percent), 
	CONSTRAINT fk_budget_notices_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE TABLE chats (
	id CHAR(32) NOT NULL, 
	user_id CHAR(32) NOT NULL, 
	title VARCHAR(200), 
	model VARCHAR(100) NOT NULL, 
	system_prompt VARCHAR NOT NULL, 
	temperature DOUBLE, 
	thinking_tokens INTEGER, 
	pinned BOOLEAN NOT NULL, 
	archived BOOLEAN NOT NULL, 
	head_id CHAR(32), 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	deleted_at DATETIME, 
	CONSTRAINT pk_chats PRIMARY KEY (id), 
	CONSTRAINT fk_chats_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
INSERT INTO "chats" VALUES('a83517eb85fd4b998ae7eaa2810695b0','b561cc4237364cc9981f1aa9ecb0d30c','Kneading bread','scripted','Be brief.',NULL,NULL,0,0,'f57bd1e8cb304e3387f9e695c232046f','2026-11-26 23:08:46.521081','2026-11-26 23:08:46.730686',NULL);
INSERT INTO "chats" VALUES('a7eab49b9666461f80a4e72ffb5ffad3','b561cc4237364cc9981f1aa9ecb0d30c','By the provider','scripted','',NULL,NULL,0,0,'52d92f9f3573452b9ebb2bd394f5e006','2026-11-26 23:08:47.078858','2026-11-26 23:08:47.766867',NULL);
CREATE TABLE ledger_entries (
	id INTEGER NOT NULL, 
	user_id CHAR(32) NOT NULL, 
	turn_id CHAR(32), 
	operation VARCHAR(10) NOT NULL, 
	delta BIGINT NOT NULL, 
	reason VARCHAR(300) DEFAULT ('') NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_ledger_entries PRIMARY KEY (id), 
	CONSTRAINT fk_ledger_entries_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
INSERT INTO "ledger_entries" VALUES(1,'b561cc4237364cc9981f1aa9ecb0d30c',NULL,'grant',100000,'first limit','2026-11-26 23:08:46.487640');
INSERT INTO "ledger_entries" VALUES(2,'b561cc4237364cc9981f1aa9ecb0d30c','da4ff67a322c45709eea92ca4902f84f','reserve',-8215,'','2026-11-26 23:08:46.541502');
INSERT INTO "ledger_entries" VALUES(3,'b561cc4237364cc9981f1aa9ecb0d30c','da4ff67a322c45709eea92ca4902f84f','release',8215,'','2026-11-26 23:08:46.569316');
INSERT INTO "ledger_entries" VALUES(4,'b561cc4237364cc9981f1aa9ecb0d30c','da4ff67a322c45709eea92ca4902f84f','charge',-31,'','2026-11-26 23:08:46.569318');
INSERT INTO "ledger_entries" VALUES(5,'b561cc4237364cc9981f1aa9ecb0d30c','700e05872cde4bca9debaddc97f512a0','reserve',-122,'','2026-11-26 23:08:46.583653');
INSERT INTO "ledger_entries" VALUES(6,'b561cc4237364cc9981f1aa9ecb0d30c','700e05872cde4bca9debaddc97f512a0','release',122,'','2026-11-26 23:08:46.592608');
INSERT INTO "ledger_entries" VALUES(7,'b561cc4237364cc9981f1aa9ecb0d30c','700e05872cde4bca9debaddc97f512a0','charge',-76,'','2026-11-26 23:08:46.592610');
INSERT INTO "ledger_entries" VALUES(8,'b561cc4237364cc9981f1aa9ecb0d30c','bc2ce8b790b740e2b7b539908f5f2621','reserve',-8210,'','2026-11-26 23:08:46.616096');
INSERT INTO "ledger_entries" VALUES(9,'b561cc4237364cc9981f1aa9ecb0d30c','bc2ce8b790b740e2b7b539908f5f2621','release',8210,'','2026-11-26 23:08:46.628265');
INSERT INTO "ledger_entries" VALUES(10,'b561cc4237364cc9981f1aa9ecb0d30c','bc2ce8b790b740e2b7b539908f5f2621','charge',-29,'','2026-11-26 23:08:46.628267');
INSERT INTO "ledger_entries" VALUES(11,'b561cc4237364cc9981f1aa9ecb0d30c','9a554bbd888a435698ef87029ebb3754','reserve',-8210,'','2026-11-26 23:08:46.648423');
INSERT INTO "ledger_entries" VALUES(12,'b561cc4237364cc9981f1aa9ecb0d30c','9a554bbd888a435698ef87029ebb3754','release',8210,'','2026-11-26 23:08:46.659857');
INSERT INTO "ledger_entries" VALUES(13,'b561cc4237364cc9981f1aa9ecb0d30c','9a554bbd888a435698ef87029ebb3754','charge',0,'','2026-11-26 23:08:46.659859');
INSERT INTO "ledger_entries" VALUES(14,'b561cc4237364cc9981f1aa9ecb0d30c','94cbfce1a47d46de896516a9105d60b0','reserve',-8210,'','2026-11-26 23:08:46.678819');
INSERT INTO "ledger_entries" VALUES(15,'b561cc4237364cc9981f1aa9ecb0d30c','94cbfce1a47d46de896516a9105d60b0','release',8210,'','2026-11-26 23:08:46.683941');
INSERT INTO "ledger_entries" VALUES(16,'b561cc4237364cc9981f1aa9ecb0d30c','94cbfce1a47d46de896516a9105d60b0','charge',-20,'','2026-11-26 23:08:46.683943');
INSERT INTO "ledger_entries" VALUES(17,'b561cc4237364cc9981f1aa9ecb0d30c','0487cdb7c8184c6cb083a2aae0440e4a','reserve',-8210,'','2026-11-26 23:08:46.725678');
INSERT INTO "ledger_entries" VALUES(18,'b561cc4237364cc9981f1aa9ecb0d30c','0487cdb7c8184c6cb083a2aae0440e4a','release',8210,'','2026-11-26 23:08:46.730973');
INSERT INTO "ledger_entries" VALUES(19,'b561cc4237364cc9981f1aa9ecb0d30c','0487cdb7c8184c6cb083a2aae0440e4a','charge',-23,'','2026-11-26 23:08:46.730975');
INSERT INTO "ledger_entries" VALUES(20,'b561cc4237364cc9981f1aa9ecb0d30c','34216c884db24fcd96b037c7d0ea548f','reserve',-8207,'','2026-11-26 23:08:46.770264');
INSERT INTO "ledger_entries" VALUES(21,'b561cc4237364cc9981f1aa9ecb0d30c','34216c884db24fcd96b037c7d0ea548f','release',8207,'','2026-11-26 23:08:46.775251');
INSERT INTO "ledger_entries" VALUES(22,'b561cc4237364cc9981f1aa9ecb0d30c','34216c884db24fcd96b037c7d0ea548f','charge',-19,'','2026-11-26 23:08:46.775253');
INSERT INTO "ledger_entries" VALUES(23,'b561cc4237364cc9981f1aa9ecb0d30c','8997b2048f954fbb952e199e2c35993d','reserve',-8206,'','2026-11-26 23:08:47.384734');
INSERT INTO "ledger_entries" VALUES(24,'b561cc4237364cc9981f1aa9ecb0d30c','8997b2048f954fbb952e199e2c35993d','release',8206,'','2026-11-26 23:08:47.531661');
INSERT INTO "ledger_entries" VALUES(25,'b561cc4237364cc9981f1aa9ecb0d30c','8997b2048f954fbb952e199e2c35993d','charge',-280,'','2026-11-26 23:08:47.531669');
INSERT INTO "ledger_entries" VALUES(26,'b561cc4237364cc9981f1aa9ecb0d30c','cf8a4a84085a432ab9196f6f44c06858','reserve',-8212,'','2026-11-26 23:08:47.748223');
INSERT INTO "ledger_entries" VALUES(27,'b561cc4237364cc9981f1aa9ecb0d30c','cf8a4a84085a432ab9196f6f44c06858','release',8212,'','2026-11-26 23:08:47.767486');
INSERT INTO "ledger_entries" VALUES(28,'b561cc4237364cc9981f1aa9ecb0d30c','cf8a4a84085a432ab9196f6f44c06858','charge',-17,'','2026-11-26 23:08:47.767488');
CREATE TABLE links (
	digest VARCHAR(64) NOT NULL, 
	email VARCHAR(254) NOT NULL, 
	is_admin BOOLEAN NOT NULL, 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	closed_at DATETIME, 
	CONSTRAINT pk_links PRIMARY KEY (digest)
);
CREATE TABLE login_sessions (
	id CHAR(32) NOT NULL, 
	user_id CHAR(32) NOT NULL, 
	token_digest VARCHAR(64) NOT NULL, 
	user_agent VARCHAR(200) NOT NULL, 
	created_at DATETIME NOT NULL, 
	seen_at DATETIME NOT NULL, 
	ended_at DATETIME, failed_before INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_login_sessions PRIMARY KEY (id), 
	CONSTRAINT fk_login_sessions_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT uq_login_sessions_token_digest UNIQUE (token_digest)
);
CREATE TABLE messages (
	id CHAR(32) NOT NULL, 
	chat_id CHAR(32) NOT NULL, 
	parent_id CHAR(32), 
	role VARCHAR(10) NOT NULL, 
	content VARCHAR NOT NULL, 
	thoughts VARCHAR NOT NULL, 
	status VARCHAR(12) NOT NULL, 
	model VARCHAR(100), 
	tokens_consumed INTEGER NOT NULL, 
	usage JSON, 
	created_at DATETIME NOT NULL, continues BOOLEAN DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_messages PRIMARY KEY (id), 
	CONSTRAINT fk_messages_chat_id_chats FOREIGN KEY(chat_id) REFERENCES chats (id) ON DELETE CASCADE, 
	CONSTRAINT fk_messages_parent_id_messages FOREIGN KEY(parent_id) REFERENCES messages (id) ON DELETE CASCADE
);
INSERT INTO "messages" VALUES('23343fcf032b447c9d9ad139c895a478','a83517eb85fd4b998ae7eaa2810695b0',NULL,'user','How long do I knead it?','','completed','scripted',0,NULL,'2026-11-26 23:08:46.532392',0);
INSERT INTO "messages" VALUES('d9b40f02807847c58a093d99e38b1e15','a83517eb85fd4b998ae7eaa2810695b0','23343fcf032b447c9d9ad139c895a478','assistant','Knead it for ten minutes.','','completed','scripted',31,'{"user_tokens": 8, "answer_tokens": 9, "system_tokens": 4, "overhead_tokens": 10, "total_tokens": 31, "charged_tokens": 31, "excess_tokens": 0, "method": "api", "methods": {"user": "api", "answer": "api", "system": "api"}, "metering": "exchange", "finish_reason": "stop", "error_code": null, "error_message": null, "cost_microusd": null, "reported": {"input_tokens": 40, "output_tokens": 30, "cached_tokens": 10, "thoughts_tokens": 12, "tool_tokens": 0, "total_tokens": 70}}','2026-11-26 23:08:46.532394',0);
INSERT INTO "messages" VALUES('e3eb56d4662447c2aa1f254976cd795a','a83517eb85fd4b998ae7eaa2810695b0','d9b40f02807847c58a093d99e38b1e15','user','And then?','','completed','scripted',0,NULL,'2026-11-26 23:08:46.615521',0);
INSERT INTO "messages" VALUES('d6ffc64ccc6a4678ba3f429b2a1fff9e','a83517eb85fd4b998ae7eaa2810695b0','e3eb56d4662447c2aa1f254976cd795a','assistant','Second answer, a little longer.','','completed','scripted',29,'{"user_tokens": 4, "answer_tokens": 11, "system_tokens": 4, "overhead_tokens": 10, "total_tokens": 29, "charged_tokens": 29, "excess_tokens": 0, "method": "api", "methods": {"user": "api", "answer": "api", "system": "api"}, "metering": "exchange", "finish_reason": "stop", "error_code": null, "error_message": null, "cost_microusd": null, "reported": {"input_tokens": 90, "output_tokens": 22, "cached_tokens": 0, "thoughts_tokens": 0, "tool_tokens": 0, "total_tokens": 112}}','2026-11-26 23:08:46.615523',0);
INSERT INTO "messages" VALUES('5104ec2a590d4eb7a15b6a677ca4a086','a83517eb85fd4b998ae7eaa2810695b0','d6ffc64ccc6a4678ba3f429b2a1fff9e','user','Fails.','','completed','scripted',0,NULL,'2026-11-26 23:08:46.647766',0);
INSERT INTO "messages" VALUES('d20b6bb3ead747dbb65aed57fd86d4c4','a83517eb85fd4b998ae7eaa2810695b0','5104ec2a590d4eb7a15b6a677ca4a086','assistant','','','failed','scripted',0,'{"overhead_tokens": 0, "total_tokens": 0, "charged_tokens": 0, "excess_tokens": 0, "method": "estimate", "methods": {}, "metering": "exchange", "finish_reason": null, "error_code": "PROVIDER_ERROR", "error_message": "The connection to the model isn''t set up. Please tell your administrator", "cost_microusd": null, "reported": null}','2026-11-26 23:08:46.647767',0);
INSERT INTO "messages" VALUES('d8764321e5c74f419cdbb01644ba4723','a83517eb85fd4b998ae7eaa2810695b0','d20b6bb3ead747dbb65aed57fd86d4c4','user','Cut.','','completed','scripted',0,NULL,'2026-11-26 23:08:46.673765',0);
INSERT INTO "messages" VALUES('089bc17fc85a411789d4797b1c1c8990','a83517eb85fd4b998ae7eaa2810695b0','d8764321e5c74f419cdbb01644ba4723','assistant','A cut off','','completed','scripted',20,'{"user_tokens": 2, "answer_tokens": 4, "system_tokens": 4, "overhead_tokens": 10, "total_tokens": 20, "charged_tokens": 20, "excess_tokens": 0, "method": "api", "methods": {"user": "api", "answer": "api", "system": "api"}, "metering": "exchange", "finish_reason": "length", "error_code": null, "error_message": null, "cost_microusd": null, "reported": null}','2026-11-26 23:08:46.673766',0);
INSERT INTO "messages" VALUES('e01ff987fa934c619f442e403ba46ec8','a83517eb85fd4b998ae7eaa2810695b0','089bc17fc85a411789d4797b1c1c8990','user','Stopped.','','completed','scripted',0,NULL,'2026-11-26 23:08:46.725093',0);
INSERT INTO "messages" VALUES('f57bd1e8cb304e3387f9e695c232046f','a83517eb85fd4b998ae7eaa2810695b0','e01ff987fa934c619f442e403ba46ec8','assistant','Some words never','','completed','scripted',23,'{"user_tokens": 3, "answer_tokens": 6, "system_tokens": 4, "overhead_tokens": 10, "total_tokens": 23, "charged_tokens": 23, "excess_tokens": 0, "method": "api", "methods": {"user": "api", "answer": "api", "system": "api"}, "metering": "exchange", "finish_reason": "stop", "error_code": null, "error_message": null, "cost_microusd": null, "reported": null}','2026-11-26 23:08:46.725094',0);
INSERT INTO "messages" VALUES('333a6db564184a64bc30351854ae8533','a7eab49b9666461f80a4e72ffb5ffad3',NULL,'user','Count it.','','completed','scripted',0,NULL,'2026-11-26 23:08:47.133537',0);
INSERT INTO "messages" VALUES('4311c42ec0e04758bb71c751b00cc6ed','a7eab49b9666461f80a4e72ffb5ffad3','333a6db564184a64bc30351854ae8533','assistant','Reported.','Hm.','completed','scripted',280,'{"user_tokens": 4, "answer_tokens": 4, "system_tokens": 0, "overhead_tokens": 10, "total_tokens": 280, "charged_tokens": 280, "excess_tokens": 0, "method": "reported", "methods": {"user": "api", "answer": "api"}, "metering": "provider", "finish_reason": "stop", "error_code": null, "error_message": null, "cost_microusd": null, "reported": {"input_tokens": 200, "output_tokens": 80, "cached_tokens": 50, "thoughts_tokens": 40, "tool_tokens": 0, "total_tokens": 280}}','2026-11-26 23:08:47.133539',0);
INSERT INTO "messages" VALUES('ad68fe6b3f184880a576e9fe0cf09112','a7eab49b9666461f80a4e72ffb5ffad3','4311c42ec0e04758bb71c751b00cc6ed','user','Again.','','completed','scripted',0,NULL,'2026-11-26 23:08:47.747581',0);
INSERT INTO "messages" VALUES('52d92f9f3573452b9ebb2bd394f5e006','a7eab49b9666461f80a4e72ffb5ffad3','ad68fe6b3f184880a576e9fe0cf09112','assistant','Unreported.','','completed','scripted',17,'{"user_tokens": 3, "answer_tokens": 4, "system_tokens": 0, "overhead_tokens": 10, "total_tokens": 17, "charged_tokens": 17, "excess_tokens": 0, "method": "api", "methods": {"user": "api", "answer": "api"}, "metering": "provider", "finish_reason": "stop", "error_code": null, "error_message": null, "cost_microusd": null, "reported": null}','2026-11-26 23:08:47.747582',0);
CREATE TABLE search_backlog (
	id INTEGER NOT NULL, 
	user_id CHAR(32) NOT NULL, 
	chat_id CHAR(32) NOT NULL, 
	after_at DATETIME, 
	after_id CHAR(32), 
	CONSTRAINT pk_search_backlog PRIMARY KEY (id), 
	CONSTRAINT fk_search_backlog_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE TABLE search_pages (
	user_id CHAR(32) NOT NULL, 
	number INTEGER NOT NULL, 
	subjects BLOB NOT NULL, 
	signature BLOB NOT NULL, 
	CONSTRAINT pk_search_pages PRIMARY KEY (user_id, number), 
	CONSTRAINT fk_search_pages_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE TABLE search_pending (
	id INTEGER NOT NULL, 
	user_id CHAR(32) NOT NULL, 
	subject_id CHAR(32) NOT NULL, 
	chars INTEGER NOT NULL, 
	CONSTRAINT pk_search_pending PRIMARY KEY (id), 
	CONSTRAINT fk_search_pending_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
INSERT INTO "search_pending" VALUES(1,'b561cc4237364cc9981f1aa9ecb0d30c','23343fcf032b447c9d9ad139c895a478',23);
INSERT INTO "search_pending" VALUES(2,'b561cc4237364cc9981f1aa9ecb0d30c','a83517eb85fd4b998ae7eaa2810695b0',23);
INSERT INTO "search_pending" VALUES(3,'b561cc4237364cc9981f1aa9ecb0d30c','d9b40f02807847c58a093d99e38b1e15',25);
INSERT INTO "search_pending" VALUES(4,'b561cc4237364cc9981f1aa9ecb0d30c','a83517eb85fd4b998ae7eaa2810695b0',14);
INSERT INTO "search_pending" VALUES(5,'b561cc4237364cc9981f1aa9ecb0d30c','e3eb56d4662447c2aa1f254976cd795a',9);
INSERT INTO "search_pending" VALUES(6,'b561cc4237364cc9981f1aa9ecb0d30c','d6ffc64ccc6a4678ba3f429b2a1fff9e',31);
INSERT INTO "search_pending" VALUES(7,'b561cc4237364cc9981f1aa9ecb0d30c','5104ec2a590d4eb7a15b6a677ca4a086',6);
INSERT INTO "search_pending" VALUES(8,'b561cc4237364cc9981f1aa9ecb0d30c','d20b6bb3ead747dbb65aed57fd86d4c4',0);
INSERT INTO "search_pending" VALUES(9,'b561cc4237364cc9981f1aa9ecb0d30c','d8764321e5c74f419cdbb01644ba4723',4);
INSERT INTO "search_pending" VALUES(10,'b561cc4237364cc9981f1aa9ecb0d30c','089bc17fc85a411789d4797b1c1c8990',9);
INSERT INTO "search_pending" VALUES(11,'b561cc4237364cc9981f1aa9ecb0d30c','e01ff987fa934c619f442e403ba46ec8',8);
INSERT INTO "search_pending" VALUES(12,'b561cc4237364cc9981f1aa9ecb0d30c','f57bd1e8cb304e3387f9e695c232046f',16);
INSERT INTO "search_pending" VALUES(13,'b561cc4237364cc9981f1aa9ecb0d30c','747ad3a3d519410d9eef4546f34d7138',4);
INSERT INTO "search_pending" VALUES(14,'b561cc4237364cc9981f1aa9ecb0d30c','a419ba85760e4985ba58ddc23165a1c7',12);
INSERT INTO "search_pending" VALUES(15,'b561cc4237364cc9981f1aa9ecb0d30c','727da8c5fe6d4cb793a3edfe554cfb19',10);
INSERT INTO "search_pending" VALUES(16,'b561cc4237364cc9981f1aa9ecb0d30c','a7eab49b9666461f80a4e72ffb5ffad3',15);
INSERT INTO "search_pending" VALUES(17,'b561cc4237364cc9981f1aa9ecb0d30c','333a6db564184a64bc30351854ae8533',9);
INSERT INTO "search_pending" VALUES(18,'b561cc4237364cc9981f1aa9ecb0d30c','4311c42ec0e04758bb71c751b00cc6ed',9);
INSERT INTO "search_pending" VALUES(19,'b561cc4237364cc9981f1aa9ecb0d30c','ad68fe6b3f184880a576e9fe0cf09112',6);
INSERT INTO "search_pending" VALUES(20,'b561cc4237364cc9981f1aa9ecb0d30c','52d92f9f3573452b9ebb2bd394f5e006',11);
CREATE TABLE title_turns (
	id CHAR(32) NOT NULL, 
	user_id CHAR(32) NOT NULL, 
	chat_id CHAR(32) NOT NULL, 
	model VARCHAR(100) NOT NULL, 
	started_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	reserved_tokens BIGINT NOT NULL, 
	answer_tokens INTEGER NOT NULL, 
	charged_tokens BIGINT NOT NULL, 
	CONSTRAINT pk_title_turns PRIMARY KEY (id), 
	CONSTRAINT fk_title_turns_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
INSERT INTO "title_turns" VALUES('700e05872cde4bca9debaddc97f512a0','b561cc4237364cc9981f1aa9ecb0d30c','a83517eb85fd4b998ae7eaa2810695b0','scripted','2026-11-26 23:08:46.584479','2026-11-26 23:08:46.591617',122,64,76);
CREATE TABLE turns (
	id CHAR(32) NOT NULL, 
	chat_id CHAR(32) NOT NULL, 
	user_id CHAR(32) NOT NULL, 
	question_id CHAR(32) NOT NULL, 
	answer_id CHAR(32) NOT NULL, 
	"key" VARCHAR(200), 
	model VARCHAR(100) NOT NULL, 
	status VARCHAR(12) NOT NULL, 
	error_code VARCHAR(30), 
	finish_reason VARCHAR(20), 
	owner VARCHAR(200) NOT NULL, 
	heartbeat_at DATETIME NOT NULL, 
	stop_requested_at DATETIME, 
	started_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	metering VARCHAR(10) NOT NULL, 
	reserved_tokens BIGINT NOT NULL, 
	max_answer_tokens INTEGER NOT NULL, 
	clamped_by_budget BOOLEAN NOT NULL, 
	charged_tokens BIGINT NOT NULL, 
	sent JSON, 
	usage JSON, 
	reported JSON, 
	reported_tokens BIGINT, 
	price JSON, 
	cost_microusd BIGINT, 
	CONSTRAINT pk_turns PRIMARY KEY (id), 
	CONSTRAINT fk_turns_answer_id_messages FOREIGN KEY(answer_id) REFERENCES messages (id) ON DELETE CASCADE, 
	CONSTRAINT fk_turns_chat_id_chats FOREIGN KEY(chat_id) REFERENCES chats (id) ON DELETE CASCADE, 
	CONSTRAINT fk_turns_question_id_messages FOREIGN KEY(question_id) REFERENCES messages (id) ON DELETE CASCADE, 
	CONSTRAINT fk_turns_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
INSERT INTO "turns" VALUES('da4ff67a322c45709eea92ca4902f84f','a83517eb85fd4b998ae7eaa2810695b0','b561cc4237364cc9981f1aa9ecb0d30c','23343fcf032b447c9d9ad139c895a478','d9b40f02807847c58a093d99e38b1e15',NULL,'scripted','completed',NULL,'stop','host|boot|space|1|1','2026-11-26 23:08:46.554415',NULL,'2026-11-26 23:08:46.533407','2026-11-26 23:08:46.567893','exchange',8215,8192,0,31,'[{"role": "system", "tokens": 4, "text": "Be brief."}, {"role": "user", "message_id": "23343fcf-032b-447c-9d9a-d139c895a478", "tokens": 8}, {"role": "overhead", "tokens": 10}]','{"user_tokens": 8, "answer_tokens": 9, "system_tokens": 4, "overhead_tokens": 10, "total_tokens": 31, "charged_tokens": 31, "excess_tokens": 0, "method": "api", "methods": {"user": "api", "answer": "api", "system": "api"}, "metering": "exchange", "finish_reason": "stop", "error_code": null, "error_message": null, "cost_microusd": null, "reported": {"input_tokens": 40, "output_tokens": 30, "cached_tokens": 10, "thoughts_tokens": 12, "tool_tokens": 0, "total_tokens": 70}}','{"input_tokens": 40, "output_tokens": 30, "cached_tokens": 10, "thoughts_tokens": 12, "tool_tokens": 0, "total_tokens": 70}',70,'null',NULL);
INSERT INTO "turns" VALUES('bc2ce8b790b740e2b7b539908f5f2621','a83517eb85fd4b998ae7eaa2810695b0','b561cc4237364cc9981f1aa9ecb0d30c','e3eb56d4662447c2aa1f254976cd795a','d6ffc64ccc6a4678ba3f429b2a1fff9e',NULL,'scripted','completed',NULL,'stop','host|boot|space|1|1','2026-11-26 23:08:46.615681',NULL,'2026-11-26 23:08:46.615682','2026-11-26 23:08:46.627873','exchange',8210,8192,0,29,'[{"role": "system", "tokens": 4, "text": "Be brief."}, {"role": "user", "message_id": "23343fcf-032b-447c-9d9a-d139c895a478", "tokens": 8}, {"role": "assistant", "message_id": "d9b40f02-8078-47c5-8a09-3d99e38b1e15", "tokens": 7}, {"role": "user", "message_id": "e3eb56d4-6624-47c2-aa1f-254976cd795a", "tokens": 3}, {"role": "overhead", "tokens": 10}]','{"user_tokens": 4, "answer_tokens": 11, "system_tokens": 4, "overhead_tokens": 10, "total_tokens": 29, "charged_tokens": 29, "excess_tokens": 0, "method": "api", "methods": {"user": "api", "answer": "api", "system": "api"}, "metering": "exchange", "finish_reason": "stop", "error_code": null, "error_message": null, "cost_microusd": null, "reported": {"input_tokens": 90, "output_tokens": 22, "cached_tokens": 0, "thoughts_tokens": 0, "tool_tokens": 0, "total_tokens": 112}}','{"input_tokens": 90, "output_tokens": 22, "cached_tokens": 0, "thoughts_tokens": 0, "tool_tokens": 0, "total_tokens": 112}',112,'null',NULL);
INSERT INTO "turns" VALUES('9a554bbd888a435698ef87029ebb3754','a83517eb85fd4b998ae7eaa2810695b0','b561cc4237364cc9981f1aa9ecb0d30c','5104ec2a590d4eb7a15b6a677ca4a086','d20b6bb3ead747dbb65aed57fd86d4c4',NULL,'scripted','failed','PROVIDER_ERROR',NULL,'host|boot|space|1|1','2026-11-26 23:08:46.647944',NULL,'2026-11-26 23:08:46.647946','2026-11-26 23:08:46.659510','exchange',8210,8192,0,0,'[{"role": "system", "tokens": 4, "text": "Be brief."}, {"role": "user", "message_id": "23343fcf-032b-447c-9d9a-d139c895a478", "tokens": 8}, {"role": "assistant", "message_id": "d9b40f02-8078-47c5-8a09-3d99e38b1e15", "tokens": 7}, {"role": "user", "message_id": "e3eb56d4-6624-47c2-aa1f-254976cd795a", "tokens": 3}, {"role": "assistant", "message_id": "d6ffc64c-cc6a-4678-ba3f-429b2a1fff9e", "tokens": 8}, {"role": "user", "message_id": "5104ec2a-590d-4eb7-a15b-6a677ca4a086", "tokens": 3}, {"role": "overhead", "tokens": 10}]','{"overhead_tokens": 0, "total_tokens": 0, "charged_tokens": 0, "excess_tokens": 0, "method": "estimate", "methods": {}, "metering": "exchange", "finish_reason": null, "error_code": "PROVIDER_ERROR", "error_message": "The connection to the model isn''t set up. Please tell your administrator", "cost_microusd": null, "reported": null}','null',NULL,'null',NULL);
INSERT INTO "turns" VALUES('94cbfce1a47d46de896516a9105d60b0','a83517eb85fd4b998ae7eaa2810695b0','b561cc4237364cc9981f1aa9ecb0d30c','d8764321e5c74f419cdbb01644ba4723','089bc17fc85a411789d4797b1c1c8990',NULL,'scripted','completed',NULL,'length','host|boot|space|1|1','2026-11-26 23:08:46.677977',NULL,'2026-11-26 23:08:46.677982','2026-11-26 23:08:46.683638','exchange',8210,8192,0,20,'[{"role": "system", "tokens": 4, "text": "Be brief."}, {"role": "user", "message_id": "23343fcf-032b-447c-9d9a-d139c895a478", "tokens": 8}, {"role": "assistant", "message_id": "d9b40f02-8078-47c5-8a09-3d99e38b1e15", "tokens": 7}, {"role": "user", "message_id": "e3eb56d4-6624-47c2-aa1f-254976cd795a", "tokens": 3}, {"role": "assistant", "message_id": "d6ffc64c-cc6a-4678-ba3f-429b2a1fff9e", "tokens": 8}, {"role": "user", "message_id": "d8764321-e5c7-4f41-9cdb-b01644ba4723", "tokens": 3}, {"role": "overhead", "tokens": 10}]','{"user_tokens": 2, "answer_tokens": 4, "system_tokens": 4, "overhead_tokens": 10, "total_tokens": 20, "charged_tokens": 20, "excess_tokens": 0, "method": "api", "methods": {"user": "api", "answer": "api", "system": "api"}, "metering": "exchange", "finish_reason": "length", "error_code": null, "error_message": null, "cost_microusd": null, "reported": null}','null',NULL,'null',NULL);
INSERT INTO "turns" VALUES('0487cdb7c8184c6cb083a2aae0440e4a','a83517eb85fd4b998ae7eaa2810695b0','b561cc4237364cc9981f1aa9ecb0d30c','e01ff987fa934c619f442e403ba46ec8','f57bd1e8cb304e3387f9e695c232046f',NULL,'scripted','completed',NULL,'stop','host|boot|space|1|1','2026-11-26 23:08:46.725257',NULL,'2026-11-26 23:08:46.725258','2026-11-26 23:08:46.730686','exchange',8210,8192,0,23,'[{"role": "system", "tokens": 4, "text": "Be brief."}, {"role": "user", "message_id": "23343fcf-032b-447c-9d9a-d139c895a478", "tokens": 8}, {"role": "assistant", "message_id": "d9b40f02-8078-47c5-8a09-3d99e38b1e15", "tokens": 7}, {"role": "user", "message_id": "e3eb56d4-6624-47c2-aa1f-254976cd795a", "tokens": 3}, {"role": "assistant", "message_id": "d6ffc64c-cc6a-4678-ba3f-429b2a1fff9e", "tokens": 8}, {"role": "user", "message_id": "d8764321-e5c7-4f41-9cdb-b01644ba4723", "tokens": 3}, {"role": "assistant", "message_id": "089bc17f-c85a-4117-89d4-797b1c1c8990", "tokens": 4}, {"role": "user", "message_id": "e01ff987-fa93-4c61-9f44-2e403ba46ec8", "tokens": 3}, {"role": "overhead", "tokens": 10}]','{"user_tokens": 3, "answer_tokens": 6, "system_tokens": 4, "overhead_tokens": 10, "total_tokens": 23, "charged_tokens": 23, "excess_tokens": 0, "method": "api", "methods": {"user": "api", "answer": "api", "system": "api"}, "metering": "exchange", "finish_reason": "stop", "error_code": null, "error_message": null, "cost_microusd": null, "reported": null}','null',NULL,'null',NULL);
INSERT INTO "turns" VALUES('8997b2048f954fbb952e199e2c35993d','a7eab49b9666461f80a4e72ffb5ffad3','b561cc4237364cc9981f1aa9ecb0d30c','333a6db564184a64bc30351854ae8533','4311c42ec0e04758bb71c751b00cc6ed',NULL,'scripted','completed',NULL,'stop','host|boot|space|1|1','2026-11-26 23:08:47.497232',NULL,'2026-11-26 23:08:47.153671','2026-11-26 23:08:47.523000','provider',8206,8192,0,280,'[{"role": "system", "tokens": 0, "text": ""}, {"role": "user", "message_id": "333a6db5-6418-4a64-bc30-351854ae8533", "tokens": 3}, {"role": "overhead", "tokens": 10}]','{"user_tokens": 4, "answer_tokens": 4, "system_tokens": 0, "overhead_tokens": 10, "total_tokens": 280, "charged_tokens": 280, "excess_tokens": 0, "method": "reported", "methods": {"user": "api", "answer": "api"}, "metering": "provider", "finish_reason": "stop", "error_code": null, "error_message": null, "cost_microusd": null, "reported": {"input_tokens": 200, "output_tokens": 80, "cached_tokens": 50, "thoughts_tokens": 40, "tool_tokens": 0, "total_tokens": 280}}','{"input_tokens": 200, "output_tokens": 80, "cached_tokens": 50, "thoughts_tokens": 40, "tool_tokens": 0, "total_tokens": 280}',280,'null',NULL);
INSERT INTO "turns" VALUES('cf8a4a84085a432ab9196f6f44c06858','a7eab49b9666461f80a4e72ffb5ffad3','b561cc4237364cc9981f1aa9ecb0d30c','ad68fe6b3f184880a576e9fe0cf09112','52d92f9f3573452b9ebb2bd394f5e006',NULL,'scripted','completed',NULL,'stop','host|boot|space|1|1','2026-11-26 23:08:47.747751',NULL,'2026-11-26 23:08:47.747753','2026-11-26 23:08:47.766867','provider',8212,8192,0,17,'[{"role": "system", "tokens": 0, "text": ""}, {"role": "user", "message_id": "333a6db5-6418-4a64-bc30-351854ae8533", "tokens": 3}, {"role": "assistant", "message_id": "4311c42e-c0e0-4758-bb71-c751b00cc6ed", "tokens": 3}, {"role": "user", "message_id": "ad68fe6b-3f18-4880-a576-e9fe0cf09112", "tokens": 3}, {"role": "overhead", "tokens": 10}]','{"user_tokens": 3, "answer_tokens": 4, "system_tokens": 0, "overhead_tokens": 10, "total_tokens": 17, "charged_tokens": 17, "excess_tokens": 0, "method": "api", "methods": {"user": "api", "answer": "api"}, "metering": "provider", "finish_reason": "stop", "error_code": null, "error_message": null, "cost_microusd": null, "reported": null}','null',NULL,'null',NULL);
CREATE TABLE usage_records (
	turn_id CHAR(32) NOT NULL, 
	user_id CHAR(32) NOT NULL, 
	chat_id CHAR(32) NOT NULL, 
	model VARCHAR(100) NOT NULL, 
	day DATE NOT NULL, 
	ended_at DATETIME NOT NULL, 
	status VARCHAR(12) NOT NULL, 
	metering VARCHAR(10) NOT NULL, 
	method VARCHAR(10) NOT NULL, 
	user_tokens BIGINT NOT NULL, 
	answer_tokens BIGINT NOT NULL, 
	system_tokens BIGINT NOT NULL, 
	overhead_tokens BIGINT NOT NULL, 
	counted_tokens BIGINT NOT NULL, 
	charged_tokens BIGINT NOT NULL, 
	reported_input_tokens BIGINT, 
	reported_cached_tokens BIGINT, 
	reported_output_tokens BIGINT, 
	reported_thoughts_tokens BIGINT, 
	reported_tokens BIGINT, 
	cost_microusd BIGINT, 
	CONSTRAINT pk_usage_records PRIMARY KEY (turn_id), 
	CONSTRAINT fk_usage_records_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
INSERT INTO "usage_records" VALUES('da4ff67a322c45709eea92ca4902f84f','b561cc4237364cc9981f1aa9ecb0d30c','a83517eb85fd4b998ae7eaa2810695b0','scripted','2026-11-26','2026-11-26 23:08:46.567893','completed','exchange','api',8,9,4,10,31,31,40,10,30,12,70,NULL);
INSERT INTO "usage_records" VALUES('700e05872cde4bca9debaddc97f512a0','b561cc4237364cc9981f1aa9ecb0d30c','a83517eb85fd4b998ae7eaa2810695b0','scripted','2026-11-26','2026-11-26 23:08:46.591617','title','exchange','api',19,5,42,10,76,76,60,0,5,0,65,NULL);
INSERT INTO "usage_records" VALUES('bc2ce8b790b740e2b7b539908f5f2621','b561cc4237364cc9981f1aa9ecb0d30c','a83517eb85fd4b998ae7eaa2810695b0','scripted','2026-11-26','2026-11-26 23:08:46.627873','completed','exchange','api',4,11,4,10,29,29,90,0,22,0,112,NULL);
INSERT INTO "usage_records" VALUES('9a554bbd888a435698ef87029ebb3754','b561cc4237364cc9981f1aa9ecb0d30c','a83517eb85fd4b998ae7eaa2810695b0','scripted','2026-11-26','2026-11-26 23:08:46.659510','failed','exchange','estimate',0,0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "usage_records" VALUES('94cbfce1a47d46de896516a9105d60b0','b561cc4237364cc9981f1aa9ecb0d30c','a83517eb85fd4b998ae7eaa2810695b0','scripted','2026-11-26','2026-11-26 23:08:46.683638','completed','exchange','api',2,4,4,10,20,20,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "usage_records" VALUES('0487cdb7c8184c6cb083a2aae0440e4a','b561cc4237364cc9981f1aa9ecb0d30c','a83517eb85fd4b998ae7eaa2810695b0','scripted','2026-11-26','2026-11-26 23:08:46.730686','completed','exchange','api',3,6,4,10,23,23,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "usage_records" VALUES('34216c884db24fcd96b037c7d0ea548f','b561cc4237364cc9981f1aa9ecb0d30c','747ad3a3d519410d9eef4546f34d7138','scripted','2026-11-26','2026-11-26 23:08:46.774885','completed','exchange','api',5,4,0,10,19,19,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "usage_records" VALUES('8997b2048f954fbb952e199e2c35993d','b561cc4237364cc9981f1aa9ecb0d30c','a7eab49b9666461f80a4e72ffb5ffad3','scripted','2026-11-26','2026-11-26 23:08:47.523000','completed','provider','reported',4,4,0,10,18,280,200,50,80,40,280,NULL);
INSERT INTO "usage_records" VALUES('cf8a4a84085a432ab9196f6f44c06858','b561cc4237364cc9981f1aa9ecb0d30c','a7eab49b9666461f80a4e72ffb5ffad3','scripted','2026-11-26','2026-11-26 23:08:47.766867','completed','provider','api',3,4,0,10,17,17,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE user_usage (
	user_id CHAR(32) NOT NULL, 
	total_tokens_used BIGINT NOT NULL, 
	reserved_tokens BIGINT NOT NULL, 
	token_limit BIGINT NOT NULL, 
	reset_period VARCHAR(10) NOT NULL, 
	last_reset_at DATETIME NOT NULL, 
	CONSTRAINT pk_user_usage PRIMARY KEY (user_id), 
	CONSTRAINT fk_user_usage_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
INSERT INTO "user_usage" VALUES('b561cc4237364cc9981f1aa9ecb0d30c',495,0,100000,'monthly','2026-11-26 23:08:46.487039');
CREATE TABLE users (
	id CHAR(32) NOT NULL, 
	email VARCHAR(254) NOT NULL, 
	password_hash VARCHAR(300) NOT NULL, 
	is_admin BOOLEAN NOT NULL, 
	is_enabled BOOLEAN NOT NULL, 
	timezone VARCHAR(64) NOT NULL, 
	locale VARCHAR(8), 
	default_model VARCHAR(100), 
	default_system_prompt VARCHAR, 
	created_at DATETIME NOT NULL, default_temperature DOUBLE, default_thinking_tokens INTEGER, deleted_at DATETIME, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT uq_users_email UNIQUE (email)
);
INSERT INTO "users" VALUES('b561cc4237364cc9981f1aa9ecb0d30c','ada@example.org','!',0,1,'UTC',NULL,NULL,NULL,'2026-11-26 23:08:46.375101',NULL,NULL,NULL);
CREATE INDEX ix_api_keys_user_id ON api_keys (user_id);
CREATE INDEX ix_chats_user_updated ON chats (user_id, updated_at);
CREATE INDEX ix_ledger_entries_user_created ON ledger_entries (user_id, created_at);
CREATE UNIQUE INDEX uq_ledger_entries_turn_operation ON ledger_entries (turn_id, operation);
CREATE INDEX ix_login_sessions_user_id ON login_sessions (user_id);
CREATE INDEX ix_messages_parent_id ON messages (parent_id);
CREATE INDEX ix_turns_answer_id ON turns (answer_id);
CREATE INDEX ix_turns_open ON turns (owner) WHERE status = 'in_progress';
CREATE INDEX ix_turns_user_started ON turns (user_id, started_at);
CREATE UNIQUE INDEX uq_turns_chat_key ON turns (chat_id, "key");
CREATE UNIQUE INDEX uq_turns_chat_open ON turns (chat_id) WHERE status = 'in_progress';
CREATE TRIGGER ledger_entries_stay BEFORE UPDATE ON ledger_entries BEGIN SELECT RAISE(ABORT, 'an entry of the ledger is never altered'); END;
CREATE INDEX ix_title_turns_user_id ON title_turns (user_id);
CREATE INDEX ix_title_turns_chat_id ON title_turns (chat_id);
CREATE INDEX ix_chats_export ON chats (user_id, created_at, id);
CREATE INDEX ix_usage_records_export ON usage_records (user_id, day, ended_at, turn_id);
CREATE INDEX ix_links_email ON links (email);
CREATE INDEX ix_links_expires_at ON links (expires_at);
CREATE INDEX ix_messages_chat_id_created_at_id ON messages (chat_id, created_at, id);
CREATE INDEX ix_turns_question_id ON turns (question_id);
CREATE INDEX ix_turns_user_open ON turns (user_id) WHERE status = 'in_progress';
CREATE INDEX ix_title_turns_open ON title_turns (started_at) WHERE ended_at IS NULL;
CREATE INDEX ix_chats_deleted ON chats (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX ix_users_deleted ON users (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX ix_search_pending_user_id ON search_pending (user_id);
CREATE INDEX ix_search_backlog_user_id ON search_backlog (user_id);
CREATE TRIGGER search_message_added AFTER INSERT ON messages WHEN NEW.status <> 'in_progress' AND NOT NEW.continues BEGIN INSERT INTO search_pending (user_id, subject_id, chars)
    SELECT user_id, NEW.id, length(NEW.content) FROM chats WHERE id = NEW.chat_id; END;
CREATE TRIGGER search_message_changed AFTER UPDATE OF content, status ON messages WHEN NEW.status <> 'in_progress' AND NOT NEW.continues AND (OLD.status = 'in_progress' OR OLD.content <> NEW.content) BEGIN INSERT INTO search_pending (user_id, subject_id, chars)
    SELECT user_id, NEW.id, length(NEW.content) FROM chats WHERE id = NEW.chat_id; END;
CREATE TRIGGER search_title_added AFTER INSERT ON chats WHEN NEW.title IS NOT NULL BEGIN INSERT INTO search_pending (user_id, subject_id, chars) VALUES (NEW.user_id, NEW.id, length(NEW.title)); END;
CREATE TRIGGER search_title_changed AFTER UPDATE OF title ON chats WHEN NEW.title IS NOT NULL AND (OLD.title IS NULL OR OLD.title <> NEW.title) BEGIN INSERT INTO search_pending (user_id, subject_id, chars) VALUES (NEW.user_id, NEW.id, length(NEW.title)); END;
COMMIT;
