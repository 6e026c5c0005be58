//! What happens in each scenario: the fault, and how it is taken back.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;

use super::backing::{Database, Redis};
use super::fleet::Fleet;
use super::stage::{N_NODES, Stage, Standing};
use crate::process::pause;

/// The node that faults of one node happen to.
const VICTIM: usize = 1;
const REDIS_DELAY: Duration = Duration::from_millis(500);
const FLAP: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// The database is killed, and started again
    DbDown,
    /// The database says nothing
    DbSilent,
    /// The database is killed, and started on another address
    DbMoved,
    /// Redis is killed, and started again with what it held then
    RedisKilled,
    /// Redis says nothing
    RedisStopped,
    /// Redis is gone every other second
    RedisFlapping,
    /// Redis takes half a second for everything
    RedisSlow,
    /// Redis is killed, and started empty at once
    RedisEmpty,
    /// Redis loses every announced change
    FeedDropped,
    /// One node has no database
    NodeCut,
    /// One node is killed, and started again
    NodeKilled,
    /// Nodes are stopped and started one by one
    Rolling,
}

/// Everything that can be broken.
pub struct World {
    pub database: Database,
    pub redis: Redis,
    pub fleet: Fleet,
}

impl Scenario {
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Nodes that have no database meanwhile.
    pub fn without_store(self) -> &'static [usize] {
        match self {
            Self::DbDown | Self::DbSilent | Self::DbMoved => &[0, 1, 2],
            Self::NodeCut => &[VICTIM],
            _ => &[],
        }
    }

    /// Whether processes of the nodes change.
    pub fn replaces_nodes(self) -> bool {
        matches!(self, Self::NodeKilled | Self::Rolling)
    }

    /// How soon all must be well again by itself.
    pub fn recovery_max(self) -> Duration {
        Duration::from_secs(if self.without_store().is_empty() { 10 } else { 15 })
    }

    /// Breaks it.
    pub fn break_it(self, stage: &Stage, world: &mut World) -> Result<()> {
        for at in self.without_store() {
            stage.nodes[*at].lacks_store(true);
        }
        match self {
            Self::DbDown | Self::DbMoved => world.database.kill(),
            Self::DbSilent => world.database.pause(true),
            Self::RedisKilled => world.redis.kill(),
            Self::RedisStopped => world.redis.pause(true),
            Self::RedisFlapping => Ok(()),
            Self::RedisSlow => {
                world.redis.wire.delay(REDIS_DELAY);
                Ok(())
            }
            Self::RedisEmpty => {
                world.redis.kill()?;
                world.redis.forget()?;
                world.redis.begin()
            }
            Self::FeedDropped => {
                world.redis.wire.lose_feed(true);
                Ok(())
            }
            Self::NodeCut => {
                let victim = world.fleet.node(VICTIM)?.server.pid();
                world.database.cut(&[victim]);
                Ok(())
            }
            Self::NodeKilled => {
                stage.nodes[VICTIM].stands(Standing::Killed);
                world.fleet.kill(VICTIM)
            }
            Self::Rolling => Ok(()),
        }
    }

    /// Lets it be broken for so long.
    pub fn hold(self, span: Duration, stage: &Stage, world: &mut World) -> Result<()> {
        let until = Instant::now() + span;
        match self {
            Self::RedisFlapping => {
                while Instant::now() < until {
                    world.redis.wire.open(false)?;
                    pause(FLAP);
                    world.redis.wire.open(true)?;
                    pause(FLAP);
                }
            }
            // Each once. A new one has some time to show itself before the next one goes.
            Self::Rolling => {
                let share = span / N_NODES as u32;
                for at in 0..N_NODES {
                    let next = Instant::now() + share;
                    replace(at, stage, &mut world.fleet)?;
                    pause(next.saturating_duration_since(Instant::now()));
                }
            }
            _ => pause(span),
        }
        Ok(())
    }

    /// Takes it back; returns when what was broken is there again.
    pub fn mend(self, stage: &Stage, world: &mut World) -> Result<()> {
        match self {
            Self::DbDown => world.database.begin(),
            Self::DbMoved => {
                world.database.move_away();
                world.database.begin()
            }
            Self::DbSilent => world.database.pause(false),
            Self::RedisKilled => world.redis.begin(),
            Self::RedisStopped => world.redis.pause(false),
            Self::RedisSlow => {
                world.redis.wire.delay(Duration::ZERO);
                Ok(())
            }
            Self::FeedDropped => {
                world.redis.wire.lose_feed(false);
                Ok(())
            }
            Self::NodeCut => {
                world.database.cut(&[]);
                Ok(())
            }
            Self::NodeKilled => {
                world.fleet.spawn(VICTIM)?;
                world.fleet.wait_until_ready(VICTIM)?;
                stage.nodes[VICTIM].stands(Standing::Up);
                Ok(())
            }
            Self::RedisFlapping | Self::RedisEmpty | Self::Rolling => Ok(()),
        }
    }
}

/// One node makes room for the next version, as a deployment does it: nobody goes on before the
/// balancer sends visitors to it again.
fn replace(at: usize, stage: &Stage, fleet: &mut Fleet) -> Result<()> {
    let node = &stage.nodes[at];
    node.stands(Standing::Leaving);
    fleet.stop(at)?;
    fleet.spawn(at)?;
    fleet.wait_until_ready(at)?;
    node.stands(Standing::Up);
    while !node.is_in() && !stage.is_over() {
        pause(Duration::from_millis(20));
    }
    Ok(())
}
